//! Replies that do not decode: the saga waits for a person, and nobody is told an outcome.

use crate::node::{Node, Told, Verb};
use crate::scenarios::Case;
use crate::shop::{Shop, Stage, World, patient};
use crate::snapshot::until;
use crate::wire::Fault;
use api::checkout::v1::{Checkout, CheckoutState};
use api::saga::v1::{Saga, SagaState};
use participant::RowState;
use std::sync::Arc;
use std::time::Duration;
use testkit::request_id;
use tonic::{Code, Status};

/// The steps whose replies nobody reads: at such a one no saga can stop.
const UNREAD: [&str; 4] = ["DebitWallet", "RefundWallet", "RestockProducts", "RestoreCoupon"];

/// What a recorded reply is changed to so that it does not decode, and back.
const DAMAGED: &str = "CONCAT(X'FF', reply)";
const REPAIRED: &str = "SUBSTRING(reply, 2)";

/// How long a client waits for the answer of a saga that stands still.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_reply_that_does_not_decode_parks_the_saga_and_is_no_outcome() {
    let stage = Stage::start(patient()).await;
    stage.each_case(damaged).await;
}

async fn damaged(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    let before = shop.standing(&world).await;
    // Nobody hears the reply before it is damaged.
    shop.wire.always(&world.trace, case.step(), Fault::REPLY_LOST);
    let damage = async {
        let saga = node.started(&world.ask).await;
        let done = || async { (shop.wire.answered(&world.trace, case.step()) > 0).then_some(()) };
        until("the step is done", done).await;
        let changed = change_reply(shop, &case, &saga, RowState::Done, DAMAGED).await;
        assert_eq!(changed, 1, "{case}: the row was to be damaged");
        shop.wire.heal(&world.trace, case.step());
        saga
    };
    let (told, saga) = tokio::join!(stage.ask(&world), damage);
    if UNREAD.contains(&case.step()) {
        assert_eq!(told.unwrap().state, CheckoutState::Succeeded, "{case}");
        return;
    }
    assert_no_outcome(told.map(|told| told.state), &case);
    let parked = parked(node, &saga).await;
    let why = parked.attention.unwrap().message;
    let expected = format!("the reply of step {} does not decode", case.number());
    assert!(why.contains(&expected), "{case}: {why}");
    for replica in [node, stage.other()] {
        let told: Result<Told, _> =
            replica.ask_within(&world.trace, world.ask.clone(), PATIENCE).await;
        assert_no_outcome(told.map(|told| told.state), &case);
        let told: Result<Checkout, _> = replica.try_checkout(&saga).await;
        assert_no_outcome(told.map(|checkout| checkout.state()), &case);
        assert!(replica.saga(&saga).await.saga.unwrap().ended_at.is_none(), "{case}");
    }
    let ends = format!("saga_history WHERE saga_id = X'{}'", saga.replace('-', ""));
    assert_eq!(shop.journal_rows(&ends).await, 0, "{case}");

    // What the step did can be undone only by what its row says, so that somebody repairs it.
    let changed = change_reply(shop, &case, &saga, RowState::Done, REPAIRED).await;
    assert_eq!(changed, 1, "{case}: the row was to be repaired");
    if case.is_compensable() {
        is_aborted(&stage, &case, &world, &saga, &before).await;
    } else {
        node.operate(Verb::Retry, &request_id(), &saga).await.unwrap();
        succeeds(node, &saga).await;
        assert_eq!(shop.snapshot(&world).await, success, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_decode_parks_the_saga_and_an_abort_still_ends_it() {
    let stage = Stage::start(patient()).await;
    stage.each_case(garbled).await;
}

async fn garbled(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    if UNREAD.contains(&case.step()) {
        return;
    }
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    let before = shop.standing(&world).await;
    shop.wire.next(&world.trace, case.step(), &[Fault::garbage()]);
    let told = stage.ask(&world).await.unwrap();
    let saga = told.checkout_id;
    parked(node, &saga).await;
    if case.is_compensable() {
        assert_eq!(told.state, CheckoutState::Running, "{case}");
        return is_aborted(&stage, &case, &world, &saga, &before).await;
    }
    // The row can be read, and says that the step is done.
    assert_ne!(told.state, CheckoutState::Failed, "{case}");
    node.operate(Verb::Retry, &request_id(), &saga).await.unwrap();
    succeeds(node, &saga).await;
    assert_eq!(shop.snapshot(&world).await, success, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_rejection_that_does_not_decode_parks_the_saga() {
    let stage = Stage::start(patient()).await;
    stage.each_case(damaged_rejection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_rejection_that_does_not_decode_parks_the_saga_over_a_connection_too() {
    let shop = Shop::start().await;
    let node = shop.node_over(shop.served.clone(), patient()).await;
    let stage = Stage::of(shop, node).await;
    stage.each_case(damaged_rejection).await;
}

async fn damaged_rejection(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    let Some(spoil) = case.spoils().first().copied() else { return };
    let world = stage.spoiled(&case, spoil).await;
    let before = shop.standing(&world).await;
    // Nobody hears the rejection before it is damaged.
    shop.wire.always(&world.trace, case.step(), Fault::REPLY_LOST);
    let damage = async {
        let saga = node.started(&world.ask).await;
        let rejected =
            || async { (shop.wire.answered(&world.trace, case.step()) > 0).then_some(()) };
        until("the step is rejected", rejected).await;
        let changed = change_reply(shop, &case, &saga, RowState::Rejected, DAMAGED).await;
        assert_eq!(changed, 1, "{case}: the row was to be damaged");
        shop.wire.heal(&world.trace, case.step());
        saga
    };
    let (told, saga) = tokio::join!(stage.ask(&world), damage);
    assert_no_outcome(told.map(|told| told.state), &case);
    let why = parked(node, &saga).await.attention.unwrap().message;
    assert!(why.contains(&format!("the rejection of step {}", case.number())), "{case}: {why}");
    for replica in [node, stage.other()] {
        let told: Result<Checkout, _> = replica.try_checkout(&saga).await;
        assert_no_outcome(told.map(|checkout| checkout.state()), &case);
    }

    let changed = change_reply(shop, &case, &saga, RowState::Rejected, REPAIRED).await;
    assert_eq!(changed, 1, "{case}: the row was to be repaired");
    node.operate(Verb::Retry, &request_id(), &saga).await.unwrap();
    let ended = || async { node.checkout(&saga).await.ended_at };
    until("the end is recorded", ended).await;
    let failure = node.checkout(&saga).await.failure.unwrap();
    assert_eq!(failure.reason, spoil.reason().as_str(), "{case}");
    assert_eq!(shop.standing(&world).await, before, "{case}");
}

/// Changes what is recorded of the case's step, if it is in this state. Tells how many rows it found.
async fn change_reply(shop: &Shop, case: &Case, saga: &str, state: RowState, to: &str) -> i64 {
    let db = shop.database(case.participant());
    let saga = saga.replace('-', "");
    let (step, state) = (case.number(), state.code());
    let at = format!("saga_id = X'{saga}' AND step = {step} AND state = {state}");
    Shop::execute(db, &format!("UPDATE saga_op SET reply = {to} WHERE {at}")).await;
    Shop::rows(db, &format!("saga_op WHERE {at}")).await
}

async fn is_aborted(stage: &Stage, case: &Case, world: &World, saga: &str, before: &[String]) {
    let Stage { shop, node, .. } = stage;
    let told = node.operate(Verb::Abort, &request_id(), saga).await.unwrap().saga;
    assert_eq!(told.state(), SagaState::Failed, "{case}");
    assert_eq!(told.failure.unwrap().metadata["cause"], "OPERATOR", "{case}");
    assert_eq!(shop.standing(world).await, before, "{case}");
    assert_eq!(node.checkout(saga).await.state(), CheckoutState::Failed, "{case}");
}

async fn succeeds(node: &Node, saga: &str) {
    let ended = || async { node.checkout(saga).await.ended_at };
    until("the end is recorded", ended).await;
    assert_eq!(node.checkout(saga).await.state(), CheckoutState::Succeeded);
}

async fn parked(node: &Node, saga: &str) -> Saga {
    let waits = || async {
        let saga = node.saga(saga).await.saga.unwrap();
        (saga.state() == SagaState::NeedsAttention).then_some(saga)
    };
    until("the saga calls for a person", waits).await
}

fn assert_no_outcome(told: Result<CheckoutState, Status>, case: &Case) {
    match told {
        Ok(state) => assert_eq!(state, CheckoutState::Running, "{case}"),
        // Rows that were not read in time are asked for again.
        Err(status) => {
            let code = status.code();
            assert!(matches!(code, Code::Internal | Code::Unavailable), "{case}: {status:?}");
        }
    }
}
