//! Errors that no retry can heal: before the pivot they end the saga, after it they call for a person.

use crate::refused::told_alike;
use crate::scenarios::{Case, undo_of};
use crate::shop::{Stage, World, patient};
use crate::snapshot::until;
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;
use api::saga::v1::SagaState;
use api::{Reason, Refusal};
use participant::never_heals;
use std::sync::Arc;
use tonic::Code;

/// The codes of such errors.
const CODES: [Code; 5] = [
    Code::Unimplemented,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::InvalidArgument,
    Code::OutOfRange,
];

#[test]
fn no_other_code_is_one_that_no_retry_can_heal() {
    for code in (0..=16).map(Code::from_i32) {
        assert_eq!(never_heals(code), CODES.contains(&code), "{code:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_can_never_be_done_ends_the_saga_or_calls_for_a_person() {
    let stage = Stage::start(patient()).await;
    stage.each_case(every_code).await;
}

async fn every_code(stage: Arc<Stage>, case: Case) {
    for code in CODES {
        let world = stage.world(&case).await;
        stage.shop.wire.always(&world.trace, case.step(), Fault::refused(code));
        if case.is_past_pivot() {
            parks(&stage, &case, &world).await;
        } else {
            ends(&stage, &case, &world).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_done_and_says_it_never_can_be_is_undone_unless_it_decides() {
    let stage = Stage::start(patient()).await;
    stage.each_case(done_and_refused).await;
}

async fn done_and_refused(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    let fault = Fault::done_and_refused(Code::PermissionDenied);
    shop.wire.always(&world.trace, case.step(), fault);
    if case.is_past_pivot() {
        return parks(&stage, &case, &world).await;
    }
    if !case.is_pivot() {
        return ends(&stage, &case, &world).await;
    }
    // The void finds the pivot done.
    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    assert_eq!(shop.snapshot(&world).await, success, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_can_never_be_done_calls_for_a_person() {
    let stage = Stage::start(patient()).await;
    stage.each_case(never_undone).await;
}

async fn never_undone(stage: Arc<Stage>, case: Case) {
    let Some(undo) = case.undo() else { return };
    for code in CODES {
        let world = stage.world(&case).await;
        stage.shop.doom(&world, &case);
        stage.shop.wire.always(&world.trace, &undo, Fault::refused(code));
        parks(&stage, &case, &world).await;
    }
}

pub(crate) async fn ends(stage: &Stage, case: &Case, world: &World) {
    let Stage { shop, .. } = stage;
    let before = shop.standing(world).await;
    let status = stage.ask(world).await.expect_err("it can never be done");
    assert_eq!(shop.standing(world).await, before, "{case}");
    let refusal = Refusal::from_status(&status).unwrap();
    assert_eq!(refusal.reason, Reason::SagaAborted, "{case}");
    assert_eq!(refusal.metadata["cause"], "PARTICIPANT_REFUSES", "{case}");
    assert_eq!(refusal.metadata["step"], case.step(), "{case}");
    told_alike(stage, world, &status).await;
    for info in case.compensable() {
        assert!(shop.wire.sent(&world.trace, &undo_of(info).unwrap()) > 0, "{case}: {}", info.name);
    }
}

async fn parks(stage: &Stage, case: &Case, world: &World) {
    let node = &stage.node;
    let told = stage.ask(world).await.unwrap();
    // A step that is done counts as done, though it says that it never can be.
    assert_ne!(told.state, CheckoutState::Failed, "{case}");
    let listed = || async {
        let all = node.needing_attention().await;
        all.into_iter().find(|saga| saga.saga_id == told.checkout_id)
    };
    let saga = until("the saga calls for a person", listed).await;
    assert_eq!(saga.state(), SagaState::NeedsAttention, "{case}");
    let attention = saga.attention.clone().unwrap().message;
    let named = [case.step(), "pivot"].iter().any(|name| attention.contains(name));
    assert!(named, "{case}: {attention}");
    assert_eq!(node.saga(&told.checkout_id).await.saga.unwrap(), saga, "{case}");
}
