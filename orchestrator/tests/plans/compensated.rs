//! What is undone is undone once, and never comes back.

use crate::node::is_replayed;
use crate::scenarios::Case;
use crate::shop::{Stage, World, patient};
use crate::wire::{Delivered, Fault, Packet};
use api::saga::v1::StepFound;
use api::{Reason, Refusal};
use saga::runtime::Options;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use uuid::Uuid;

/// The answer of every compensation and void, as far as they are alike.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Undone {
    #[prost(enumeration = "StepFound", tag = "1")]
    found: i32,
}

/// A step's messages as the orchestrator sends them, for any saga.
struct Messages {
    action: Packet,
    undo: Packet,
    of: Uuid,
}

impl Messages {
    /// Those of a saga that was voided and undone, so that its world is as before.
    async fn of_failed_saga(stage: &Stage, case: &Case, world: &World, undo: &str) -> Self {
        stage.shop.doom(world, case);
        let status = stage.ask(world).await.expect_err("a doomed saga fails");
        let refusal = Refusal::from_status(&status).unwrap();
        Self {
            action: stage.shop.wire.first(&world.trace, case.step()),
            undo: stage.shop.wire.first(&world.trace, undo),
            of: refusal.metadata["checkout_id"].parse().unwrap(),
        }
    }

    fn action(&self, saga: Uuid) -> Packet {
        self.action.readdressed(self.of, saga)
    }

    fn undo(&self, saga: Uuid) -> Packet {
        self.undo.readdressed(self.of, saga)
    }
}

fn found(answer: &Delivered) -> StepFound {
    answer.ok::<Undone>().unwrap().found()
}

fn assert_tombstoned(answer: &Delivered, what: &str) {
    assert_eq!(answer.ok::<()>().unwrap_err().code(), Code::Aborted, "{what}");
    assert_eq!(answer.reason(), Some(Reason::SagaStepTombstoned), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_after_its_undo_is_refused() {
    let stage = Stage::start(patient()).await;
    stage.each_case(undone_first).await;
}

async fn undone_first(stage: Arc<Stage>, case: Case) {
    let Some(undo) = case.undo() else { return };
    let what = case.to_string();
    let Stage { shop, .. } = &*stage;
    let world = stage.world(&case).await;
    let messages = Messages::of_failed_saga(&stage, &case, &world, undo).await;
    let before = shop.snapshot(&world).await;

    let saga = Uuid::now_v7();
    assert_eq!(found(&shop.wire.deliver(messages.undo(saga)).await), StepFound::Nothing, "{what}");
    for late in shop.deliver_twice(&messages.action(saga)).await {
        assert_tombstoned(&late, &what);
    }
    assert_eq!(
        found(&shop.wire.deliver(messages.undo(saga)).await),
        StepFound::Tombstone,
        "{what}"
    );
    assert_eq!(shop.snapshot(&world).await, before, "{what}");

    // It is the undo that refuses it: the same message of a saga without one is done.
    shop.wire.deliver(messages.action(Uuid::now_v7())).await.ok::<()>().expect(&what);
    assert_ne!(shop.snapshot(&world).await, before, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_undone_twice_at_once_is_undone_once() {
    let stage = Stage::start(patient()).await;
    stage.each_case(undone_twice).await;
}

async fn undone_twice(stage: Arc<Stage>, case: Case) {
    let Some(undo) = case.undo() else { return };
    let what = case.to_string();
    let Stage { shop, .. } = &*stage;
    let world = stage.world(&case).await;
    let messages = Messages::of_failed_saga(&stage, &case, &world, undo).await;
    let before = shop.standing(&world).await;

    let saga = Uuid::now_v7();
    shop.wire.deliver(messages.action(saga)).await.ok::<()>().expect(&what);
    let done = shop.standing(&world).await;
    let mut both = shop.deliver_twice(&messages.undo(saga)).await.map(|answer| found(&answer));
    both.sort_unstable();
    let again = found(&shop.wire.deliver(messages.undo(saga)).await);
    let late = shop.wire.deliver(messages.action(saga)).await;
    if case.is_register() {
        // What is decided stays decided.
        assert_eq!((both, again), ([StepFound::Done; 2], StepFound::Done), "{what}");
        assert_eq!(late.mark("idempotency-replayed"), Some("true"), "{what}");
        assert_eq!(shop.standing(&world).await, done, "{what}");
    } else {
        // The second may have joined the first in its lane, and shares its answer then.
        let second = both[1];
        assert_eq!(both[0], StepFound::Done, "{what}");
        assert!([StepFound::Done, StepFound::Compensated].contains(&second), "{what}: {second:?}");
        assert_eq!(again, StepFound::Compensated, "{what}");
        assert_tombstoned(&late, &what);
        assert_eq!(shop.standing(&world).await, before, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_whose_outcome_is_unknown_is_asked_again_and_done_once() {
    let attempt = Duration::from_millis(500);
    let stage = Stage::start(Options { attempt, ..patient() }).await;
    stage.each_case(every_mishap).await;
}

async fn every_mishap(stage: Arc<Stage>, case: Case) {
    let Some(undo) = case.undo() else { return };
    let Stage { shop, .. } = &*stage;
    let mut clean = None;
    for faults in [
        &[][..],
        &[Fault::DOUBLED],
        &[Fault::REQUEST_LOST, Fault::refused(Code::FailedPrecondition)],
        &[Fault::REPLY_LOST, Fault::done_and_refused(Code::Internal)],
        &[Fault::HUNG],
        &[Fault::DONE_AND_HUNG],
    ] {
        let what = format!("{case}: {faults:?}");
        let world = stage.world(&case).await;
        let before = shop.standing(&world).await;
        shop.doom(&world, &case);
        shop.wire.next(&world.trace, undo, faults);

        let status = stage.ask(&world).await.expect_err(&what);
        let refusal = Refusal::from_status(&status).unwrap();
        assert_eq!(refusal.metadata["cause"], "PARTICIPANT_REFUSES", "{what}");
        assert!(!is_replayed(status.metadata()), "{what}");
        for late in shop.deliver_late(&world, undo).await {
            late.ok::<Undone>().expect(&what);
        }
        let after = shop.snapshot(&world).await;
        assert_eq!(after.standing, before, "{what}");
        // The first one shows what one undo leaves in the books.
        assert_eq!(*clean.get_or_insert_with(|| after.clone()), after, "{what}");
    }
}
