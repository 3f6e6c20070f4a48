//! Calls whose outcome the orchestrator does not know: it asks again until it does, or until the saga's deadline.

use crate::refused::told_alike;
use crate::scenarios::{Case, Spoil};
use crate::shop::{Stage, World, patient};
use crate::snapshot::{Snapshot, until};
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;
use api::{Reason, Refusal};
use chrono::{DateTime, Utc};
use participant::{ActReply, StepAnswer};
use saga::runtime::Options;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// A saga's deadline that a test can wait for, and that every saga reaches its last step before.
const DEADLINE: Duration = Duration::from_secs(3);

/// Ways to answer that say nothing of what became of the call; the participant may have done it or not.
fn mishaps(case: &Case) -> Vec<(&'static str, Vec<Fault>)> {
    let business = [Code::NotFound, Code::AlreadyExists, Code::FailedPrecondition];
    let broken = [
        Code::Unknown,
        Code::Internal,
        Code::Aborted,
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
        Code::DataLoss,
    ];
    let not_done = |code: &Code| Fault::refused(*code);
    let done = |code: &Code| Fault::done_and_refused(*code);
    let worded = |spoil: Spoil| Fault::worded(spoil.reason());
    vec![
        ("the request is lost", vec![Fault::REQUEST_LOST; 3]),
        ("the reply is lost", vec![Fault::REPLY_LOST; 3]),
        ("the request is late", vec![Fault::HUNG]),
        ("the reply never comes", vec![Fault::DONE_AND_HUNG]),
        ("not done, and an error", broken.iter().map(not_done).collect()),
        ("done, and an error", broken.iter().map(done).collect()),
        ("not done, and a refusal's code", business.iter().map(not_done).collect()),
        ("done, and a refusal's code", business.iter().map(done).collect()),
        ("a refusal's words in a status", case.spoils().into_iter().map(worded).collect()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_outcome_is_unknown_is_asked_again_and_done_once() {
    let attempt = Duration::from_millis(500);
    let stage = Stage::start(Options { attempt, ..patient() }).await;
    stage.each_case(every_mishap).await;
}

async fn every_mishap(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    let success = stage.success(&case).await;
    for (mishap, faults) in mishaps(&case) {
        let what = format!("{case}: {mishap}");
        let world = stage.world(&case).await;
        shop.wire.next(&world.trace, case.step(), &faults);

        let told = stage.ask(&world).await.expect(&what);
        assert_eq!(told.state, CheckoutState::Succeeded, "{what}");
        assert_eq!(shop.snapshot(&world).await, success, "{what}");
        assert!(shop.wire.sent(&world.trace, case.step()) > faults.len(), "{what}");

        for late in shop.deliver_late(&world, case.step()).await {
            assert_eq!(late.unwrap(), shop.wire.answer(&world.trace, case.step()), "{what}");
        }
        assert_eq!(shop.snapshot(&world).await, success, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_never_done_ends_the_saga_at_its_deadline() {
    let stage = Stage::start(Options { deadline: DEADLINE, ..patient() }).await;
    stage.each_case(never_done).await;
}

async fn never_done(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    shop.wire.next(&world.trace, case.step(), &[Fault::DELAYED]);
    shop.wire.always(&world.trace, case.step(), Fault::REQUEST_LOST);
    if case.is_past_pivot() {
        return rolls_forward(&stage, &case, &world, &success).await;
    }
    ends_at_deadline(&stage, &case, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_replies_are_all_lost_ends_the_saga_unless_it_decides_it() {
    let stage = Stage::start(Options { deadline: DEADLINE, ..patient() }).await;
    stage.each_case(never_heard).await;
}

async fn never_heard(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    shop.wire.always(&world.trace, case.step(), Fault::REPLY_LOST);
    if case.is_past_pivot() {
        return rolls_forward(&stage, &case, &world, &success).await;
    }
    if !case.is_pivot() {
        return ends_at_deadline(&stage, &case, &world).await;
    }
    // The void finds the pivot done.
    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    assert_eq!(shop.snapshot(&world).await, success, "{case}");
    assert!(shop.wire.sent(&world.trace, &case.void()) > 0, "{case}");
}

/// A saga past its pivot has no deadline: it goes on until the step is heard.
async fn rolls_forward(stage: &Stage, case: &Case, world: &World, success: &Snapshot) {
    let Stage { shop, node, .. } = stage;
    let heal = async {
        let saga = node.started(&world.ask).await;
        let deadline = node.saga(&saga).await.saga.unwrap().deadline.unwrap();
        let deadline = DateTime::from_timestamp(deadline.seconds, 0).unwrap();
        until("the deadline is past", || async { (Utc::now() > deadline).then_some(()) }).await;
        let sent = shop.wire.sent(&world.trace, case.step());
        let tried =
            || async { (shop.wire.sent(&world.trace, case.step()) > sent + 1).then_some(()) };
        until("the step is tried again", tried).await;
        // The rows say that it is done, also of a cancel's last step, whose reply nobody heard.
        let told = node.checkout(&saga).await.state();
        assert!(
            [CheckoutState::Running, CheckoutState::Succeeded].contains(&told),
            "{case}: {told:?}"
        );
        shop.wire.heal(&world.trace, case.step());
    };
    let (told, ()) = tokio::join!(stage.ask(world), heal);
    assert_eq!(told.unwrap().state, CheckoutState::Succeeded, "{case}");
    assert_eq!(shop.snapshot(world).await, *success, "{case}");
    for late in shop.deliver_late(world, case.step()).await {
        assert_eq!(late.unwrap(), shop.wire.answer(&world.trace, case.step()), "{case}");
    }
    assert_eq!(shop.snapshot(world).await, *success, "{case}");
}

/// A saga that is voided and undone, and whose requests are refused when they arrive after all.
async fn ends_at_deadline(stage: &Stage, case: &Case, world: &World) {
    let Stage { shop, .. } = stage;
    let before = shop.standing(world).await;
    let status = stage.ask(world).await.expect_err("the deadline is past");
    assert_eq!(shop.standing(world).await, before, "{case}");
    let refusal = Refusal::from_status(&status).unwrap();
    assert_eq!(refusal.reason, Reason::SagaAborted, "{case}");
    assert_eq!(refusal.metadata["cause"], "DEADLINE_EXCEEDED", "{case}");
    assert_eq!(refusal.metadata["step"], case.pivot().name, "{case}");
    told_alike(stage, world, &status).await;

    let late = shop.deliver_late(world, case.step()).await;
    let again = shop.wire.deliver(shop.wire.first(&world.trace, case.step())).await;
    for late in late.into_iter().chain([again]) {
        assert_eq!(late.unwrap(), StepAnswer::Acted(ActReply::Tombstoned), "{case}");
    }
    assert_eq!(shop.standing(world).await, before, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_was_never_heard_is_the_reason_all_the_same() {
    let stage = Stage::start(Options { deadline: DEADLINE, ..patient() }).await;
    stage.each_case(refused_unheard).await;
}

async fn refused_unheard(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    for spoil in case.spoils() {
        let what = format!("{case}, {spoil:?}");
        let world = stage.spoiled(&case, spoil).await;
        let before = shop.standing(&world).await;
        shop.wire.always(&world.trace, case.step(), Fault::REPLY_LOST);

        let status = stage.ask(&world).await.expect_err(&what);
        let refusal = Refusal::from_status(&status).unwrap();
        assert_eq!(refusal.reason, spoil.reason(), "{what}");
        assert_eq!(refusal.metadata["step"], case.step(), "{what}");
        assert_eq!(shop.standing(&world).await, before, "{what}");
        told_alike(&stage, &world, &status).await;
    }
}
