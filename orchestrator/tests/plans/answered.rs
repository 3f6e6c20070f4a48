//! What a client was told is what every replica tells from then on, though END is not written yet.

use crate::scenarios::Case;
use crate::shop::{Shop, Stage, World, patient};
use crate::snapshot::until;
use crate::wire::{Fault, READ, Wire};
use api::checkout::v1::CheckoutState;
use api::{Reason, Refusal};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tonic::{Code, Status};

/// How long a client waits for the answer of a replica that is cut off.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_running_after_an_end_was_told_by_another_replica() {
    let stage = Stage::start(patient()).await;
    stage.shop.withhold_ends().await;
    stage.each_case(refusals).await;
    stage.each_case(successes).await;
}

/// Refused at the case's step.
async fn refusals(stage: Arc<Stage>, case: Case) {
    let Stage { node, .. } = &*stage;
    for spoil in case.spoils() {
        let what = format!("{case}, {spoil:?}");
        let world = stage.spoiled(&case, spoil).await;
        let told = Refusal::from_status(&stage.ask(&world).await.expect_err(&what)).unwrap();
        let saga = &told.metadata["checkout_id"];

        let found = stage.other().checkout(saga).await;
        assert_eq!(found.state(), CheckoutState::Failed, "{what}");
        assert!(found.ended_at.is_none(), "{what}: END was to be withheld");
        let failure = found.failure.unwrap();
        assert_eq!(failure, node.checkout(saga).await.failure.unwrap(), "{what}");
        assert_eq!(failure.reason, spoil.reason().as_str(), "{what}");
        let again = stage.other().ask(&world.trace, world.ask.clone()).await.expect_err(&what);
        assert_eq!(Refusal::from_status(&again).unwrap(), told, "{what}");
    }
}

/// Once for each plan, with and without a coupon.
async fn successes(stage: Arc<Stage>, case: Case) {
    if !case.is_pivot() {
        return;
    }
    let world = stage.world(&case).await;
    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    let found = stage.other().checkout(&told.checkout_id).await;
    assert_eq!(found.state(), CheckoutState::Succeeded, "{case}");
    assert!(found.ended_at.is_none(), "{case}: END was to be withheld");
    assert_eq!(found.order, told.order, "{case}");
    let again = stage.other().ask(&world.trace, world.ask.clone()).await.unwrap();
    assert_eq!((again.state, again.order, again.replayed), (told.state, told.order, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_read_the_rows_says_so_and_nothing_else() {
    let stage = Stage::start(patient()).await;
    stage.shop.withhold_ends().await;
    stage.each_case(unreadable).await;
}

async fn unreadable(stage: Arc<Stage>, case: Case) {
    if !case.is_pivot() {
        return;
    }
    let world = stage.world(&case).await;
    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    stage.shop.wire.always(&told.checkout_id, READ, Fault::REQUEST_LOST);
    let status = stage.other().checkout_of(&world.ask).await.expect_err("nobody can know");
    assert_eq!(status.code(), Code::Unavailable, "{case}");
    stage.shop.wire.heal(&told.checkout_id, READ);
    let found = stage.other().checkout_of(&world.ask).await.unwrap();
    assert_eq!(found.state(), CheckoutState::Succeeded, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_tells_no_running_after_another_told_the_end() {
    let shop = Shop::start().await;
    let wire = Wire::new(Handle::current());
    let node = shop.node_behind(&wire, patient()).await;
    let stage = Stage::of(shop, node).await;
    stage.each_case(|stage, case| cut_off(stage, case, wire.clone())).await;
}

/// The last step of a saga is done, or its first one refused, and the replica that asked for it never hears of that, nor
/// can it read the rows.
async fn cut_off(stage: Arc<Stage>, case: Case, wire: Wire) {
    if case.after().is_empty() {
        let world = stage.world(&case).await;
        told_elsewhere(&stage, &case, &wire, &world, CheckoutState::Succeeded).await;
    }
    if case.before().is_empty() {
        for spoil in case.spoils() {
            let world = stage.spoiled(&case, spoil).await;
            told_elsewhere(&stage, &case, &wire, &world, CheckoutState::Failed).await;
        }
    }
}

async fn told_elsewhere(
    stage: &Stage,
    case: &Case,
    wire: &Wire,
    world: &World,
    end: CheckoutState,
) {
    let Stage { node, .. } = stage;
    wire.always(&world.trace, case.step(), Fault::REPLY_LOST);
    let asked = node.ask_within(&world.trace, world.ask.clone(), PATIENCE);
    let elsewhere = async {
        let saga = stage.other().started(&world.ask).await;
        wire.always(&saga, READ, Fault::REQUEST_LOST);
        let told = || async { (stage.other().checkout(&saga).await.state() == end).then_some(()) };
        until("the other replica tells the end", told).await;
        assert!(node.is_driving(&saga), "{case}");
        let status = node.try_checkout(&saga).await.expect_err("it cannot know");
        assert_eq!(reason(&status), Some(Reason::Unavailable), "{case}: {status:?}");
        saga
    };
    let (told, saga) = tokio::join!(asked, elsewhere);
    let status = told.expect_err("it cannot know");
    assert_eq!(reason(&status), Some(Reason::Unavailable), "{case}: {status:?}");

    wire.heal(&saga, READ);
    assert_eq!(node.checkout(&saga).await.state(), end, "{case}");
    wire.heal(&world.trace, case.step());
    until("the end is recorded", || async { node.checkout(&saga).await.ended_at }).await;
    assert_eq!(node.checkout(&saga).await.state(), end, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_is_silent_keeps_no_client_waiting_beyond_its_deadline() {
    let stage = Stage::start(patient()).await;
    stage.shop.withhold_ends().await;
    let case = crate::scenarios::cases(&stage.node).into_iter().find(Case::is_pivot).unwrap();
    let world = stage.world(&case).await;
    let told = stage.ask(&world).await.unwrap();
    stage.shop.wire.always(&told.checkout_id, READ, Fault::HUNG);
    let short = Duration::from_millis(500);
    let status = stage.other().checkout_within(&world.ask, short).await.expect_err("nobody knows");
    assert_eq!(reason(&status), Some(Reason::Unavailable), "{status:?}");
    let again = stage.other().ask_within(&world.trace, world.ask.clone(), short).await;
    let status = again.expect_err("nobody knows");
    assert_eq!(reason(&status), Some(Reason::Unavailable), "{status:?}");
}

/// The reason that the shop names; none where the answer is not the shop's.
fn reason(status: &Status) -> Option<Reason> {
    Refusal::from_status(status).map(|refusal| refusal.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_start_is_under_way_is_not_said_to_be_unknown() {
    let stage = Stage::start(patient()).await;
    let Stage { shop, node, .. } = &*stage;
    let case = crate::scenarios::cases(node).remove(0);
    let world = stage.world(&case).await;
    let mut held = shop.hold_request(&world.ask).await;
    node.ask_and_leave(&world.trace, world.ask.clone());
    until("the request is under way", || async { (node.live() > 0).then_some(()) }).await;

    let short = Duration::from_millis(500);
    let status = node.checkout_within(&world.ask, short).await.expect_err("it is not durable");
    assert_eq!(reason(&status), Some(Reason::Unavailable), "{status:?}");

    held.rollback().await.unwrap();
    let finished = || async {
        let checkout = node.checkout_of(&world.ask).await.ok()?;
        (checkout.state() == CheckoutState::Succeeded).then_some(())
    };
    until("the order is placed", finished).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_row_somebody_holds_keeps_no_other_from_its_end() {
    let stage = Stage::start(patient()).await;
    let Stage { shop, node, .. } = &*stage;
    let case = crate::scenarios::cases(node).remove(0);
    let world = stage.world(&case).await;
    shop.wire.next(&world.trace, case.step(), &[Fault::HUNG]);
    node.ask_and_leave(&world.trace, world.ask.clone());
    let saga = node.started(&world.ask).await;
    // Pinged, or the server would end a session that is silent for 5 s.
    let held = tokio::sync::Mutex::new(shop.hold_saga(&saga).await);
    let told = || async {
        held.lock().await.ping().await.unwrap();
        (node.checkout(&saga).await.state() == CheckoutState::Succeeded).then_some(())
    };
    until("its end is told", told).await;

    for _ in 0..20 {
        let world = stage.world(&case).await;
        let told = stage.ask(&world).await.unwrap();
        let ended = || async {
            held.lock().await.ping().await.unwrap();
            node.checkout(&told.checkout_id).await.ended_at
        };
        until("the end of another is recorded", ended).await;
    }
    assert!(node.checkout(&saga).await.ended_at.is_none());
    held.into_inner().rollback().await.unwrap();
    until("its own end is recorded", || async { node.checkout(&saga).await.ended_at }).await;
}
