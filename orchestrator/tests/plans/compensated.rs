//! What is undone is undone once, and never comes back.

use crate::node::is_replayed;
use crate::scenarios::Case;
use crate::shop::{Stage, World, patient};
use crate::wire::{Delivered, Fault, Packet};
use api::Refusal;
use participant::{ActReply, Found, StepAnswer};
use saga::runtime::Options;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use uuid::Uuid;

/// A step's calls as the orchestrator makes them, for any saga.
struct Calls {
    action: Packet,
    undo: Packet,
}

impl Calls {
    /// Those of a saga that was voided and undone, so that its world is as before.
    async fn of_failed_saga(stage: &Stage, case: &Case, world: &World, undo: &str) -> Self {
        stage.shop.doom(world, case);
        stage.ask(world).await.expect_err("a doomed saga fails");
        Self {
            action: stage.shop.wire.first(&world.trace, case.step()),
            undo: stage.shop.wire.first(&world.trace, undo),
        }
    }

    fn action(&self, saga: Uuid) -> Packet {
        self.action.readdressed(saga)
    }

    fn undo(&self, saga: Uuid) -> Packet {
        self.undo.readdressed(saga)
    }
}

fn found(answer: &Delivered) -> Found {
    match answer {
        Ok(StepAnswer::Found { found, .. }) => *found,
        other => panic!("not the answer of an undo: {other:?}"),
    }
}

fn assert_done(answer: &Delivered, what: &str) {
    assert!(matches!(answer, Ok(StepAnswer::Acted(ActReply::Done(_)))), "{what}: {answer:?}");
}

fn assert_tombstoned(answer: &Delivered, what: &str) {
    let tombstoned = StepAnswer::Acted(ActReply::Tombstoned);
    assert_eq!(answer.as_ref().unwrap(), &tombstoned, "{what}");
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
    let calls = Calls::of_failed_saga(&stage, &case, &world, &undo).await;
    let before = shop.snapshot(&world).await;

    let saga = Uuid::now_v7();
    assert_eq!(found(&shop.wire.deliver(calls.undo(saga)).await), Found::Nothing, "{what}");
    for late in shop.deliver_twice(&calls.action(saga)).await {
        assert_tombstoned(&late, &what);
    }
    assert_eq!(found(&shop.wire.deliver(calls.undo(saga)).await), Found::Tombstone, "{what}");
    assert_eq!(shop.snapshot(&world).await, before, "{what}");

    // It is the undo that refuses it: the same message of a saga without one is done.
    assert_done(&shop.wire.deliver(calls.action(Uuid::now_v7())).await, &what);
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
    let calls = Calls::of_failed_saga(&stage, &case, &world, &undo).await;
    let before = shop.standing(&world).await;

    let saga = Uuid::now_v7();
    let acted = shop.wire.deliver(calls.action(saga)).await;
    assert_done(&acted, &what);
    let done = shop.standing(&world).await;
    let mut both = shop.deliver_twice(&calls.undo(saga)).await.map(|answer| found(&answer));
    both.sort_unstable();
    let again = found(&shop.wire.deliver(calls.undo(saga)).await);
    let late = shop.wire.deliver(calls.action(saga)).await;
    if case.is_pivot() {
        // What is decided stays decided.
        assert_eq!((both, again), ([Found::Done; 2], Found::Done), "{what}");
        assert_eq!(late.unwrap(), acted.unwrap(), "{what}");
        assert_eq!(shop.standing(&world).await, done, "{what}");
    } else {
        // The second may have joined the first in its lane, and shares its answer then.
        let second = both[1];
        assert_eq!(both[0], Found::Done, "{what}");
        assert!([Found::Done, Found::Compensated].contains(&second), "{what}: {second:?}");
        assert_eq!(again, Found::Compensated, "{what}");
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
        shop.wire.next(&world.trace, &undo, faults);

        let status = stage.ask(&world).await.expect_err(&what);
        let refusal = Refusal::from_status(&status).unwrap();
        assert_eq!(refusal.metadata["cause"], "PARTICIPANT_REFUSES", "{what}");
        assert!(!is_replayed(status.metadata()), "{what}");
        for late in shop.deliver_late(&world, &undo).await {
            found(&late);
        }
        let after = shop.snapshot(&world).await;
        assert_eq!(after.standing, before, "{what}");
        // The first one shows what one undo leaves in the books.
        assert_eq!(*clean.get_or_insert_with(|| after.clone()), after, "{what}");
    }
}
