//! Cancels that meet: each other, an order that still runs, and one whose replica dies in any of its steps. One refund,
//! one restock.

use crate::node::{Ask, Node, Told};
use crate::scenarios::{Scenario, cases};
use crate::shop::{Shop, Stage, World, cancel, one_attempt, patient, trace};
use crate::snapshot::until;
use crate::wire::Fault;
use api::checkout::v1::{CancelOrderRequest, CheckoutState};
use api::{Reason, Refusal};
use futures_util::future::join_all;
use orchestrator::kind::{CANCEL, CHECKOUT};
use testkit::request_id;
use tonic::Status;

/// Cancels of one order at once, half of them on each of two replicas.
const AT_ONCE: usize = 10;

/// The scenarios of cancelling, with and without a coupon.
fn cancels(node: &Node) -> Vec<&'static Scenario> {
    let cases = cases(node).into_iter().map(|case| (case.is_pivot(), case.scenario));
    cases.filter(|(once, it)| *once && it.plan.kind == CANCEL).map(|(_, it)| it).collect()
}

fn refusal(answer: &Result<Told, Status>) -> Refusal {
    Refusal::from_status(answer.as_ref().unwrap_err()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_cancels_at_once_one_refunds_and_restocks_and_the_others_are_told_which() {
    let stage = Stage::start(patient()).await;
    let Stage { shop, node, .. } = &*stage;
    let other = shop.node(patient()).await;
    for scenario in cancels(node) {
        let success = shop.success(node, scenario).await;
        let world = shop.world(node, scenario).await;
        let Ask::Cancel(first) = &world.ask else { panic!("{scenario:?} cancels nothing") };
        let asks = (0..AT_ONCE).map(|number| {
            let request = CancelOrderRequest { request_id: request_id(), ..first.clone() };
            let node = if number % 2 == 0 { node } else { &other };
            // One trace, so that the snapshot shows the events of all of them.
            node.ask(&world.trace, Ask::Cancel(request))
        });
        let (done, refused): (Vec<_>, Vec<_>) =
            join_all(asks).await.into_iter().partition(Result::is_ok);
        assert_eq!((done.len(), refused.len()), (1, AT_ONCE - 1), "{scenario:?}");
        let winner = done.into_iter().next().unwrap().unwrap();
        assert_eq!(winner.state, CheckoutState::Succeeded);
        for answer in &refused {
            let refusal = refusal(answer);
            assert_eq!(refusal.reason, Reason::OrderNotCancellable);
            assert_eq!(refusal.metadata["saga_id"], winner.checkout_id, "{refusal:?}");
        }
        assert_eq!(shop.snapshot(&world).await, success, "{scenario:?}");
    }
}

/// An order that stands still in one of its calls, and a cancel that met it there.
struct Met {
    what: String,
    world: World,
    call: String,
    order_id: i64,
    cancel: Ask,
    /// The cancel's trace.
    trace: String,
    answer: Result<Told, Status>,
}

impl Met {
    /// The order runs on `node` until `call` is out, and the cancel on `other`.
    async fn begin(
        (shop, node, other): (&Shop, &Node, &Node),
        world: World,
        call: &str,
        fault: Fault,
    ) -> Self {
        shop.wire.next(&world.trace, call, &[fault]);
        node.ask_and_leave(&world.trace, world.ask.clone());
        let out = || async {
            let answered = shop.wire.answered(&world.trace, call) == 1;
            let sent = shop.wire.sent(&world.trace, call) == 1;
            (if fault.is_done() { answered } else { sent }).then_some(())
        };
        until("the call is out", out).await;
        let saga = node.started(&world.ask).await;
        let order_id = node.checkout(&saga).await.order_id;
        let (cancel, trace) = (Ask::Cancel(cancel(world.user, order_id)), trace());
        let answer = other.ask(&trace, cancel.clone()).await;
        let what = format!("{call} {fault:?} of {:?}", world.ask);
        let call = call.to_owned();
        Self { what, world, call, order_id, cancel, trace, answer }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_beside_an_order_that_runs_or_dies_in_any_step_undoes_it_once_or_not_at_all() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let other = shop.node(one_attempt()).await;
    let mut met = Vec::new();
    for case in cases(&node).iter().filter(|case| case.scenario.plan.kind == CHECKOUT) {
        for fault in [Fault::HUNG, Fault::DONE_AND_HUNG] {
            let same = |it: &&Scenario| it.coupon == case.scenario.coupon;
            let cancelling = cancels(&node).into_iter().find(same).unwrap();
            let success = shop.success(&other, cancelling).await;
            let world = shop.world(&other, case.scenario).await;
            let confirmed = case.is_pivot() && fault.is_done();
            let of = (&shop, &node, &other);
            met.push((confirmed, success, Met::begin(of, world, case.step(), fault).await));
        }
    }
    node.kill();

    for (confirmed, success, met) in met {
        let Met { what, world, call, order_id, cancel: first, trace: traced, answer } = met;
        // There is an order as soon as the pivot is done, whether or not anybody knows.
        if confirmed {
            assert_eq!(answer.as_ref().unwrap().state, CheckoutState::Succeeded, "{what}");
        } else {
            assert_eq!(refusal(&answer).reason, Reason::OrderNotFound, "{what}");
        }
        let placed = || async {
            let told = other.ask(&world.trace, world.ask.clone()).await.expect(&what);
            (told.state == CheckoutState::Succeeded).then_some(told)
        };
        let placed = until("the order is placed", placed).await;
        assert_eq!(placed.order.unwrap().order_id, order_id, "{what}");

        let again = other.ask(&trace(), first).await;
        match (&answer, &again) {
            (Ok(first), Ok(again)) => assert_eq!(first.checkout_id, again.checkout_id, "{what}"),
            _ => assert_eq!(refusal(&answer), refusal(&again), "{what}"),
        }
        let later = trace();
        let second = other.ask(&later, Ask::Cancel(cancel(world.user, order_id))).await;
        let cancelled_by = if confirmed {
            let refusal = refusal(&second);
            assert_eq!(refusal.reason, Reason::OrderNotCancellable, "{what}");
            assert_eq!(refusal.metadata["saga_id"], answer.unwrap().checkout_id, "{what}");
            traced
        } else {
            assert_eq!(second.unwrap().state, CheckoutState::Succeeded, "{what}");
            later
        };
        let cancelled = World { trace: cancelled_by, ..world.clone() };
        assert_eq!(shop.snapshot(&cancelled).await, success, "{what}");

        // What was on its way when the order's replica died revives nothing.
        for late in shop.deliver_late(&world, &call).await {
            assert_eq!(late.unwrap(), shop.wire.answer(&world.trace, &call), "{what}");
        }
        assert_eq!(shop.snapshot(&cancelled).await, success, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_beside_an_order_that_is_being_undone_finds_no_order_and_refunds_nothing() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let other = shop.node(one_attempt()).await;
    let mut met = Vec::new();
    for case in cases(&node).iter().filter(|case| case.scenario.plan.kind == CHECKOUT) {
        let Some(undo) = case.undo() else { continue };
        for fault in [Fault::HUNG, Fault::DONE_AND_HUNG] {
            let world = shop.world(&other, case.scenario).await;
            shop.doom(&world, case);
            let before = shop.standing(&world).await;
            met.push((before, Met::begin((&shop, &node, &other), world, &undo, fault).await));
        }
    }
    node.kill();

    for (before, Met { what, world, order_id, answer, .. }) in met {
        assert_eq!(refusal(&answer).reason, Reason::OrderNotFound, "{what}");
        let failed = || async { other.ask(&world.trace, world.ask.clone()).await.err() };
        let status = until("the order fails", failed).await;
        assert_eq!(Refusal::from_status(&status).unwrap().reason, Reason::SagaAborted, "{what}");
        let later = other.ask(&trace(), Ask::Cancel(cancel(world.user, order_id))).await;
        assert_eq!(refusal(&later).reason, Reason::OrderNotFound, "{what}");
        assert_eq!(shop.standing(&world).await, before, "{what}");
    }
}
