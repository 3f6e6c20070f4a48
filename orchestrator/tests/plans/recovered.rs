//! A replica that dies in the middle of its sagas: the next one finishes them.
//!
//! The replicas ask each call once, so that the first one dies before it would ask again.

use crate::node::Node;
use crate::scenarios::{Case, cases};
use crate::shop::{Shop, World, one_attempt};
use crate::snapshot::{Snapshot, until};
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;
use api::{Reason, Refusal};

/// A saga that stands still in the middle.
struct Stuck {
    case: Case,
    world: World,
    /// The call that is out.
    call: String,
    fault: Fault,
    before: Snapshot,
    saga: String,
}

impl Stuck {
    /// Begins a saga whose replica waits for the answer of `call` for ever.
    async fn begin(shop: &Shop, node: &Node, case: Case, call: &str, fault: Fault) -> Self {
        let world = shop.world(node, case.scenario).await;
        if call != case.step() {
            shop.doom(&world, &case);
        }
        let before = shop.snapshot(&world).await;
        shop.wire.next(&world.trace, call, &[fault]);
        node.ask_and_leave(&world.trace, world.ask.clone());
        let kept = || async {
            let (sent, answered) =
                (shop.wire.sent(&world.trace, call), shop.wire.answered(&world.trace, call));
            let reached = if fault.is_done() { answered == 1 } else { sent == 1 };
            reached.then_some(())
        };
        until("the call is out", kept).await;
        let saga = node.started(&world.ask).await;
        let call = call.to_owned();
        Self { case, world, call, fault, before, saga }
    }

    fn what(&self) -> String {
        format!("{}, {} {:?}", self.case, self.call, self.fault)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_replica_dies_at_any_step_is_finished_by_the_next() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let mut stuck = Vec::new();
    for case in cases(&node) {
        let success = shop.success(&node, case.scenario).await;
        for fault in [Fault::HUNG, Fault::DONE_AND_HUNG] {
            let saga = Stuck::begin(&shop, &node, case.clone(), case.step(), fault).await;
            stuck.push((saga, success.clone()));
        }
    }
    node.kill();

    let node = shop.node(one_attempt()).await;
    for (saga, success) in stuck {
        let Stuck { case, world, call, .. } = &saga;
        let what = saga.what();
        let finished = || async {
            let told = node.ask(&world.trace, world.ask.clone()).await.expect(&what);
            (told.state == CheckoutState::Succeeded).then_some(told)
        };
        let told = until("the saga succeeds", finished).await;
        assert_eq!(told.checkout_id, saga.saga, "{what}");
        assert!(told.replayed, "{what}");
        assert_eq!(shop.snapshot(world).await, success, "{what}");
        assert_eq!(shop.wire.sent(&world.trace, call), 2, "{what}");
        for late in shop.deliver_late(world, case.step()).await {
            assert_eq!(late.unwrap(), shop.wire.answer(&world.trace, call), "{what}");
        }
        assert_eq!(shop.snapshot(world).await, success, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_take_over_at_once_each_saga_has_one() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let case = cases(&node).swap_remove(0);
    let mut stuck = Vec::new();
    for _ in 0..8 {
        stuck.push(Stuck::begin(&shop, &node, case.clone(), case.step(), Fault::HUNG).await);
    }
    node.kill();
    let (one, _other) = (shop.node(one_attempt()).await, shop.node(one_attempt()).await);
    for Stuck { world, call, .. } in &stuck {
        let ended = || async {
            let told = one.ask(&world.trace, world.ask.clone()).await.unwrap();
            (told.state == CheckoutState::Succeeded).then_some(())
        };
        until("the saga succeeds", ended).await;
        assert_eq!(shop.wire.sent(&world.trace, call), 2, "by both");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_replica_dies_while_undoing_any_step_is_undone_by_the_next() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let mut stuck = Vec::new();
    for case in cases(&node) {
        let Some(undo) = case.undo() else { continue };
        for fault in [Fault::HUNG, Fault::DONE_AND_HUNG] {
            stuck.push(Stuck::begin(&shop, &node, case.clone(), &undo, fault).await);
        }
    }
    node.kill();

    let node = shop.node(one_attempt()).await;
    for saga in stuck {
        let Stuck { world, call, before, .. } = &saga;
        let what = saga.what();
        let finished = || async { node.ask(&world.trace, world.ask.clone()).await.err() };
        let refusal = Refusal::from_status(&until("the saga fails", finished).await).unwrap();
        assert_eq!(refusal.reason, Reason::SagaAborted, "{what}");
        assert_eq!(refusal.metadata["cause"], "PARTICIPANT_REFUSES", "{what}");
        assert_eq!(refusal.metadata["checkout_id"], saga.saga, "{what}");
        assert_eq!(shop.standing(world).await, before.standing, "{what}");
        for late in shop.deliver_late(world, call).await {
            late.expect(&what);
        }
        assert_eq!(shop.standing(world).await, before.standing, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_outlives_the_replica_that_gave_it() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let mut answered = Vec::new();
    for case in cases(&node) {
        let mut worlds = vec![shop.world(&node, case.scenario).await];
        for spoil in case.spoils() {
            worlds.push(shop.spoiled(&node, case.scenario, spoil).await);
        }
        for world in worlds {
            let answer = node.ask(&world.trace, world.ask.clone()).await;
            let after = shop.snapshot(&world).await;
            answered.push((case.clone(), world, answer, after));
        }
    }
    // Before the last ENDs are written.
    node.kill();

    let node = shop.node(one_attempt()).await;
    for (case, world, answer, after) in answered {
        let repeat = || async { node.ask(&world.trace, world.ask.clone()).await };
        match answer {
            Ok(told) => {
                let again = repeat().await.unwrap();
                assert_eq!((again.checkout_id, again.state), (told.checkout_id, told.state));
                assert_eq!(again.order, told.order, "{case}");
            }
            Err(status) => {
                let failed = || async { repeat().await.err() };
                let again = until("the failure is known again", failed).await;
                let told = [&status, &again].map(Refusal::from_status);
                assert_eq!(told[0], told[1], "{case}");
            }
        }
        let ended = || async { node.checkout_of(&world.ask).await.unwrap().ended_at };
        until("the end is recorded", ended).await;
        assert_eq!(shop.snapshot(&world).await, after, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_recovery_is_paused_sagas_stay_with_the_replica_that_is_gone() {
    let shop = Shop::start().await;
    let first = shop.node(one_attempt()).await;
    let case = cases(&first).swap_remove(0);
    let stuck = Stuck::begin(&shop, &first, case.clone(), case.step(), Fault::HUNG).await;
    let owner = first.saga(&stuck.saga).await.saga.unwrap().owner;
    first.pause_recovery(true).await;
    first.kill();

    let next = shop.node(one_attempt()).await;
    // A replica takes another one for dead when it has not moved for 5 of its own beats.
    until("the next replica has looked often enough", || async {
        (shop.newest_beat().await >= 8).then_some(())
    })
    .await;
    assert_eq!(next.saga(&stuck.saga).await.saga.unwrap().owner, owner);
    next.pause_recovery(false).await;
    let finished = || async {
        let told = next.checkout(&stuck.saga).await;
        (told.state() == CheckoutState::Succeeded).then_some(())
    };
    until("the saga is finished", finished).await;
}
