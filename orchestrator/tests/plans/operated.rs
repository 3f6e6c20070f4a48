//! What operators can do to a saga, wherever it stands still.

use crate::node::Verb;
use crate::scenarios::{Case, cases};
use crate::shop::{Shop, Stage, World, patient};
use crate::snapshot::until;
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;
use api::saga::v1::{Saga, SagaState};
use api::{Reason, Refusal};
use saga::runtime::Options;
use std::sync::Arc;
use std::time::Duration;
use testkit::request_id;
use tonic::{Code, Status};

const NEVER: Fault = Fault::refused(Code::PermissionDenied);

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_saga_that_is_retried_goes_on_to_its_end() {
    let stage = Stage::start(patient()).await;
    stage.each_case(retried).await;
}

async fn retried(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    if !case.is_past_pivot() {
        return;
    }
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    shop.wire.always(&world.trace, case.step(), NEVER);
    let parked = parked(&stage, &world).await;

    // Still refused: it parks again, and the operator's request stays as it was answered.
    let request = request_id();
    let told = node.operate(Verb::Retry, &request, &parked.saga_id).await.unwrap();
    assert_eq!(told.saga.state(), SagaState::Running, "{case}");
    assert!(told.saga.attention.is_none() && !told.replayed, "{case}");
    let sent = || async { (shop.wire.sent(&world.trace, case.step()) == 2).then_some(()) };
    until("the step is sent again", sent).await;
    until("it parks again", || standing_still(&stage, &parked.saga_id)).await;
    let again = node.operate(Verb::Retry, &request, &parked.saga_id).await.unwrap();
    assert_eq!((again.saga, again.replayed), (told.saga, true), "{case}");

    shop.wire.heal(&world.trace, case.step());
    node.operate(Verb::Retry, &request_id(), &parked.saga_id).await.unwrap();
    let finished = || async {
        let told = stage.ask(&world).await.unwrap();
        (told.state == CheckoutState::Succeeded).then_some(())
    };
    until("the saga succeeds", finished).await;
    assert_eq!(shop.snapshot(&world).await, success, "{case}");
    until("the end is recorded", || ended(&stage, &parked.saga_id)).await;
    for verb in Verb::ALL {
        let refused = node.operate(verb, &request_id(), &parked.saga_id).await;
        let refusal = refusal(&refused.unwrap_err());
        assert_eq!(refusal.reason, Reason::SagaAlreadyEnded, "{case}, {verb:?}");
        assert_eq!(refusal.metadata["state"], "SUCCEEDED", "{case}, {verb:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_aborted_ends_by_its_register() {
    let stage = Stage::start(patient()).await;
    stage.each_case(aborted).await;
}

async fn aborted(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    if case.is_past_pivot() {
        return;
    }
    // By the replica that runs the saga, and by another.
    for asked in [node, stage.other()] {
        let world = stage.world(&case).await;
        let before = shop.standing(&world).await;
        shop.wire.always(&world.trace, case.step(), Fault::REQUEST_LOST);
        node.ask_and_leave(&world.trace, world.ask.clone());
        let saga = node.started(&world.ask).await;
        let trouble = until("the step is in trouble", || trouble(&stage, &saga)).await;
        assert_eq!(trouble.call, case.step(), "{case}");
        assert!(trouble.attempts > 0 && trouble.last_error.contains("injected"), "{case}");

        let request = request_id();
        let told = asked.operate(Verb::Abort, &request, &saga).await.unwrap();
        assert_eq!(told.saga.state(), SagaState::Failed, "{case}");
        let failure = told.saga.failure.clone().unwrap();
        assert_eq!(failure.reason, "SAGA_ABORTED", "{case}");
        assert_eq!(failure.metadata["cause"], "OPERATOR", "{case}");
        assert_eq!(shop.standing(&world).await, before, "{case}");
        let again = asked.operate(Verb::Abort, &request, &saga).await.unwrap();
        assert_eq!((again.saga, again.replayed), (told.saga, true), "{case}");
        let other = asked.operate_for(Verb::Abort, &request, &saga, "another reason").await;
        assert_eq!(refusal(&other.unwrap_err()).reason, Reason::RequestIdReused, "{case}");
        let client = node.checkout(&saga).await;
        assert_eq!(client.state(), CheckoutState::Failed, "{case}");
        assert_eq!(client.failure.unwrap().metadata["cause"], "OPERATOR", "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_past_its_register_is_not_aborted() {
    let stage = Stage::start(patient()).await;
    stage.each_case(certain).await;
}

async fn certain(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    if !case.is_past_pivot() {
        return;
    }
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    shop.wire.always(&world.trace, case.step(), NEVER);
    let parked = parked(&stage, &world).await;
    shop.wire.heal(&world.trace, case.step());
    let told = node.operate(Verb::Abort, &request_id(), &parked.saga_id).await.unwrap();
    assert_eq!(told.saga.state(), SagaState::Succeeded, "{case}");
    assert_eq!(shop.snapshot(&world).await, success, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_resolved_only_when_nothing_of_it_can_happen_any_more() {
    let stage = Stage::start(patient()).await;
    stage.each_case(resolved).await;
}

async fn resolved(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    let world = stage.world(&case).await;
    let resolve =
        async |saga: &Saga| node.operate(Verb::Resolve, &request_id(), &saga.saga_id).await;
    let Some(undo) = case.undo() else {
        // Past its pivot it can only be finished.
        shop.wire.always(&world.trace, case.step(), NEVER);
        let parked = parked(&stage, &world).await;
        let refusal = refusal(&resolve(&parked).await.unwrap_err());
        assert_eq!(refusal.reason, Reason::SagaNotResolvable, "{case}");
        return;
    };
    shop.doom(&world, &case);
    shop.wire.always(&world.trace, &undo, NEVER);
    let parked = parked(&stage, &world).await;
    if case.is_pivot() {
        // The pivot could not be closed.
        let refusal = refusal(&resolve(&parked).await.unwrap_err());
        assert_eq!(refusal.reason, Reason::SagaNotResolvable, "{case}");
        assert_eq!(refusal.metadata["step"], case.step(), "{case}");
        return;
    }
    let request = request_id();
    let told = node.operate(Verb::Resolve, &request, &parked.saga_id).await.unwrap();
    assert_eq!(told.saga.state(), SagaState::Resolved, "{case}");
    let decision = told.saga.resolution.clone().unwrap();
    let before: Vec<&str> = case.before().iter().map(|info| &*info.name).collect();
    let standing = [before, vec![case.step()]].concat();
    assert_eq!(decision.standing_steps, standing, "{case}");
    let undone: Vec<&str> =
        case.compensable().map(|info| &*info.name).filter(|it| !standing.contains(it)).collect();
    assert_eq!(decision.undone_steps, undone, "{case}");
    assert_eq!((decision.actor.as_str(), decision.reason.as_str()), ("ann", "ticket 17"));
    let again = node.operate(Verb::Resolve, &request, &parked.saga_id).await.unwrap();
    assert_eq!((again.saga, again.replayed), (told.saga, true), "{case}");
    let client = node.checkout(&parked.saga_id).await;
    assert_eq!(client.state(), CheckoutState::Failed, "{case}");
    assert_eq!(client.failure.unwrap().metadata["cause"], "RESOLVED", "{case}");
    let listed = node.listed(SagaState::Resolved).await;
    assert!(listed.iter().any(|saga| saga.resolution.as_ref() == Some(&decision)), "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_leaves_the_saga_that_was_resolved_under_it() {
    let stage = Stage::start(Options { attention_after: Duration::ZERO, ..patient() }).await;
    stage.each_case(left).await;
}

async fn left(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    let Some(undo) = case.undo().filter(|_| !case.is_pivot()) else { return };
    let world = stage.world(&case).await;
    shop.doom(&world, &case);
    shop.wire.always(&world.trace, &undo, Fault::REQUEST_LOST);
    node.ask_and_leave(&world.trace, world.ask.clone());
    let saga = node.started(&world.ask).await;
    until("the saga calls for a person", || standing_still(&stage, &saga)).await;
    let told = stage.other().operate(Verb::Resolve, &request_id(), &saga).await.unwrap();
    assert_eq!(told.saga.state(), SagaState::Resolved, "{case}");
    let gone = || async { trouble(&stage, &saga).await.is_none().then_some(()) };
    until("nobody works on the saga", gone).await;
    assert_eq!(node.checkout(&saga).await.state(), CheckoutState::Failed, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_resolved_while_it_ends_has_one_cause() {
    let stage = Stage::start(Options { attention_after: Duration::ZERO, ..patient() }).await;
    stage.each_case(one_cause).await;
}

async fn one_cause(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    let Some(undo) = case.undo().filter(|_| !case.is_pivot()) else { return };
    let world = stage.world(&case).await;
    shop.doom(&world, &case);
    shop.wire.always(&world.trace, &undo, Fault::REQUEST_LOST);
    let asked = stage.ask(&world);
    let operated = async {
        let saga = node.started(&world.ask).await;
        until("the saga calls for a person", || standing_still(&stage, &saga)).await;
        let mut held = shop.hold_saga(&saga).await;
        let answered = shop.wire.answered(&world.trace, &undo);
        shop.wire.heal(&world.trace, &undo);
        let undone =
            || async { (shop.wire.answered(&world.trace, &undo) > answered).then_some(()) };
        until("the saga is undone", undone).await;
        // Whoever tells before END is written tells by now.
        let told = || async {
            (node.checkout(&saga).await.state() != CheckoutState::Running).then_some(())
        };
        let _ = tokio::time::timeout(Duration::from_millis(300), until("it is told", told)).await;
        let request = request_id();
        let resolve = stage.other().operate(Verb::Resolve, &request, &saga);
        let let_go = async {
            tokio::task::yield_now().await;
            held.rollback().await.unwrap();
        };
        let _ = tokio::join!(resolve, let_go);
        saga
    };
    let (told, saga) = tokio::join!(asked, operated);
    let told = refusal(&told.unwrap_err());
    until("the end is recorded", || ended(&stage, &saga)).await;
    for replica in [node, stage.other()] {
        let failure = replica.checkout(&saga).await.failure.unwrap();
        assert_eq!(failure.reason, told.reason.as_str(), "{case}");
        assert_eq!(failure.metadata["cause"], told.metadata["cause"], "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_outlives_the_replica_that_was_asked_for_it() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let mut wanted = Vec::new();
    for case in cases(&node).into_iter().filter(|case| !case.is_past_pivot()) {
        let world = shop.world(&node, case.scenario).await;
        shop.wire.always(&world.trace, case.step(), Fault::REQUEST_LOST);
        shop.wire.always(&world.trace, &case.void(), Fault::REQUEST_LOST);
        node.ask_and_leave(&world.trace, world.ask.clone());
        let saga = node.started(&world.ask).await;
        node.want_abort(&saga).await;
        wanted.push((case, world, saga));
    }
    node.kill();
    for (case, world, _) in &wanted {
        shop.wire.heal(&world.trace, case.step());
        shop.wire.heal(&world.trace, &case.void());
    }

    let node = shop.node(patient()).await;
    for (case, _, saga) in wanted {
        let ended = || async { node.checkout(&saga).await.ended_at };
        until("the saga ends", ended).await;
        let failure = node.checkout(&saga).await.failure;
        let failure = failure.unwrap_or_else(|| panic!("{case}: it was to be aborted"));
        assert_eq!(failure.metadata["cause"], "OPERATOR", "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_running_is_left_by_a_retry_and_not_resolved() {
    let stage = Stage::start(patient()).await;
    stage.each_case(running).await;
}

async fn running(stage: Arc<Stage>, case: Case) {
    let Stage { shop, node, .. } = &*stage;
    let world = stage.world(&case).await;
    shop.wire.next(&world.trace, case.step(), &[Fault::HUNG]);
    node.ask_and_leave(&world.trace, world.ask.clone());
    let saga = node.started(&world.ask).await;
    let refused = node.operate(Verb::Resolve, &request_id(), &saga).await;
    assert_eq!(refusal(&refused.unwrap_err()).reason, Reason::SagaNotResolvable, "{case}");
    let told = node.operate(Verb::Retry, &request_id(), &saga).await.unwrap();
    assert_eq!(told.saga.state(), SagaState::Running, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_nobody_knows_is_not_found() {
    let stage = Stage::start(patient()).await;
    for verb in Verb::ALL {
        let refused = stage.node.operate(verb, &request_id(), &request_id()).await;
        assert_eq!(refusal(&refused.unwrap_err()).reason, Reason::SagaNotFound, "{verb:?}");
    }
}

/// Runs a world's saga until it waits for a person.
async fn parked(stage: &Stage, world: &World) -> Saga {
    let told = stage.ask(world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Running);
    until("the saga calls for a person", || standing_still(stage, &told.checkout_id)).await
}

async fn standing_still(stage: &Stage, id: &str) -> Option<Saga> {
    let saga = stage.node.saga(id).await.saga.unwrap();
    (saga.state() == SagaState::NeedsAttention).then_some(saga)
}

async fn ended(stage: &Stage, id: &str) -> Option<()> {
    stage.node.saga(id).await.saga.unwrap().ended_at.map(|_| ())
}

async fn trouble(stage: &Stage, id: &str) -> Option<api::saga::v1::SagaTrouble> {
    stage.node.saga(id).await.trouble
}

fn refusal(status: &Status) -> Refusal {
    Refusal::from_status(status).unwrap()
}
