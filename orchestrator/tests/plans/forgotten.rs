//! Sagas that ended long ago are forgotten, and what still comes of them has no effect.
//!
//! "Long ago" is a moment here: the tests forget with no retention at all.

use crate::node::{Node, Verb};
use crate::scenarios::{Case, cases, undo_of};
use crate::shop::{Shop, Stage, World, patient};
use crate::snapshot::{Snapshot, until};
use crate::wire::{Delivered, Fault};
use api::checkout::v1::CheckoutState;
use api::outcome::IDEMPOTENCY_REPLAYED;
use api::saga::v1::StepState;
use chrono::TimeDelta;
use diesel_async::SimpleAsyncConnection;
use participant::{ActReply, Found, Housekeeper, Housekeeping, SagaId, StepAnswer};
use std::time::Duration;
use testkit::request_id;
use tonic::Code;
use uuid::Uuid;

const AT_ONCE: Housekeeping =
    Housekeeping { interval: Duration::from_secs(1), retention: Duration::ZERO };

/// One round of everybody's housekeeping. Tells how many sagas the journal forgot.
async fn forget(shop: &Shop, node: &Node) -> usize {
    let forgotten = node.forget().await;
    for db in [&shop.product, &shop.coupon, &shop.wallet, &shop.order] {
        Housekeeper::new(db.clone(), AT_ONCE).round().await.unwrap();
    }
    forgotten
}

/// A saga that ended, how it left its world, and its steps.
struct Past {
    world: World,
    after: Snapshot,
    /// What it sent: actions, compensations and voids.
    sent: Vec<String>,
}

/// Whether a step's rows are gone, by the answer of its action or of what undoes it.
fn is_purged(answer: &Delivered) -> bool {
    match answer.as_ref().unwrap() {
        StepAnswer::Acted(reply) => *reply == ActReply::Purged,
        StepAnswer::Found { found, .. } => *found == Found::Purged,
    }
}

/// Sagas of every scenario: some that succeeded and some that were undone.
async fn past(shop: &Shop, node: &Node) -> Vec<Past> {
    let mut all = Vec::new();
    for case in cases(node) {
        let world = shop.world(node, case.scenario).await;
        if case.is_pivot() {
            shop.doom(&world, &case);
            node.ask(&world.trace, world.ask.clone()).await.unwrap_err();
        } else {
            let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
            assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
        }
        let ended = || async { node.checkout_of(&world.ask).await.unwrap().ended_at };
        until("the end is recorded", ended).await;
        let steps = case.steps().iter();
        let names = steps.flat_map(|info| [Some(info.name.to_string()), undo_of(info)]);
        let sent = names.flatten().filter(|name| shop.wire.answered(&world.trace, name) > 0);
        let sent = sent.collect();
        let after = shop.snapshot(&world).await;
        all.push(Past { world, after, sent });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_comes_late_of_a_forgotten_saga_has_an_effect() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let past = past(&shop, &node).await;
    assert!(forget(&shop, &node).await >= past.len());
    for rows in ["saga", "saga_history", "request"] {
        assert_eq!(shop.journal_rows(rows).await, 0, "{rows}");
    }
    for db in [&shop.product, &shop.coupon, &shop.wallet, &shop.order] {
        assert_eq!(Shop::rows(db, "saga_op").await, 0);
    }
    for Past { world, after, sent } in &past {
        for name in sent {
            let late = shop.wire.deliver(shop.wire.first(&world.trace, name)).await;
            assert!(is_purged(&late), "{name}: {late:?}");
            let is_action = cases(&node).iter().any(|case| case.step() == *name);
            assert_eq!(matches!(late, Ok(StepAnswer::Acted(_))), is_action, "{name}");
        }
        assert_eq!(shop.snapshot(world).await, *after);
    }
    for db in [&shop.product, &shop.coupon, &shop.wallet, &shop.order] {
        assert_eq!(Shop::rows(db, "saga_op").await, 0, "a late request leaves no row");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_missed_the_end_and_the_purge_changes_nothing() {
    let stage = Stage::start(patient()).await;
    let Stage { shop, node, .. } = &*stage;
    let mut missed = Vec::new();
    for case in cases(node).into_iter().filter(|case| !case.is_past_pivot()) {
        let world = stage.world(&case).await;
        let before = shop.standing(&world).await;
        shop.wire.always(&world.trace, case.step(), Fault::REQUEST_LOST);
        node.ask_and_leave(&world.trace, world.ask.clone());
        let saga = node.started(&world.ask).await;
        // Another replica ends it, while this one is cut off from the step that it asks for.
        stage.other().operate(Verb::Abort, &request_id(), &saga).await.unwrap();
        missed.push((case, world, saga, before));
    }
    assert!(forget(shop, stage.other()).await >= missed.len());
    for (case, world, ..) in &missed {
        shop.wire.heal(&world.trace, case.step());
    }
    for (case, world, saga, before) in missed {
        let gone = || async { (!node.is_driving(&saga)).then_some(()) };
        until("its executor has left", gone).await;
        assert_eq!(shop.standing(&world).await, before, "{case}");
    }
    for db in [&shop.product, &shop.coupon, &shop.wallet, &shop.order] {
        assert_eq!(Shop::rows(db, "saga_op").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_a_person_resolved_stays_and_its_steps_are_shown_as_purged() {
    let stage = Stage::start(patient()).await;
    let Stage { shop, node, .. } = &*stage;
    let can_be_undone = |case: &Case| case.undo().is_some() && !case.is_pivot();
    let case = cases(node).into_iter().find(can_be_undone).unwrap();
    let world = stage.world(&case).await;
    shop.doom(&world, &case);
    shop.wire.always(&world.trace, &case.undo().unwrap(), Fault::refused(Code::PermissionDenied));
    let saga = stage.ask(&world).await.unwrap().checkout_id;
    let resolved = || async { node.operate(Verb::Resolve, &request_id(), &saga).await.ok() };
    let told = until("the saga can be resolved", resolved).await.saga;
    assert!(node.steps(&saga).await.values().any(|state| *state == StepState::Done));
    forget(shop, node).await;
    assert_eq!(node.saga(&saga).await.saga.unwrap(), told);
    assert!(node.steps(&saga).await.values().all(|state| *state == StepState::Purged));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_refusals_of_clients_are_forgotten_and_what_was_done_is_not() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    shop.world(&node, cases(&node).swap_remove(0).scenario).await;
    shop.charge_nobody().await;
    let done = Shop::rows(&shop.wallet, "idempotency WHERE refused = 0").await;
    let day = Duration::from_hours(24);
    let mut patient =
        Housekeeper::new(shop.wallet.clone(), Housekeeping { retention: day, ..AT_ONCE });
    assert_eq!(patient.round().await.unwrap().refusals, 0, "it is not old");
    let mut housekeeper = Housekeeper::new(shop.wallet.clone(), AT_ONCE);
    assert_eq!(housekeeper.round().await.unwrap().refusals, 1);
    assert!(done > 0);
    assert_eq!(Shop::rows(&shop.wallet, "idempotency").await, done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_has_not_ended_keeps_all_that_began_after_it() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let case = cases(&node).swap_remove(0);
    let held = shop.world(&node, case.scenario).await;
    shop.wire.always(&held.trace, case.step(), Fault::REQUEST_LOST);
    node.ask_and_leave(&held.trace, held.ask.clone());
    let saga = node.started(&held.ask).await;
    let later = past(&shop, &node).await;
    forget(&shop, &node).await;
    for Past { world, after, sent } in &later {
        let name = &sent[0];
        let late = shop.wire.deliver(shop.wire.first(&world.trace, name)).await;
        assert!(!is_purged(&late), "{name}: {late:?}");
        assert_eq!(shop.snapshot(world).await, *after, "{name}");
        let told = node.ask(&world.trace, world.ask.clone()).await;
        let replayed = told.map_or_else(
            |status| status.metadata().get(IDEMPOTENCY_REPLAYED).is_some(),
            |told| told.replayed,
        );
        assert!(replayed, "its request is remembered");
    }
    shop.wire.heal(&held.trace, case.step());
    let ended = || async { node.checkout(&saga).await.ended_at };
    until("the saga has ended", ended).await;
    assert!(forget(&shop, &node).await > later.len());
}

/// Sets every watermark to an id, as clocks may have done that were wrong.
async fn set_watermarks(shop: &Shop, watermark: SagaId) {
    let sql =
        format!("UPDATE saga_watermark SET watermark = X'{}'", Uuid::from(watermark).simple());
    for db in shop.schemas() {
        Shop::execute(db, &sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_taken_though_the_watermark_is_days_ahead_of_every_clock() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let mut days_ahead = (db::now_micros() + TimeDelta::days(8)).timestamp_millis();
    for case in cases(&node).into_iter().filter(Case::is_pivot) {
        let world = shop.world(&node, case.scenario).await;
        days_ahead += 60_000;
        let watermark = SagaId((u128::try_from(days_ahead).unwrap() << 80).to_be_bytes());
        set_watermarks(&shop, watermark).await;
        let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
        assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
        assert!(SagaId::from(told.checkout_id.parse::<Uuid>().unwrap()) > watermark, "{case}");
        let again = node.ask(&world.trace, world.ask.clone()).await.unwrap();
        assert!(again.replayed && again.checkout_id == told.checkout_id, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_rises_no_higher_than_the_newest_saga_that_has_ended() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let case = cases(&node).into_iter().find(Case::is_pivot).unwrap();
    let world = shop.world(&node, case.scenario).await;
    let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
    let ended = || async { node.checkout(&told.checkout_id).await.ended_at };
    until("the end is recorded", ended).await;
    assert!(forget(&shop, &node).await > 0);
    let at = format!(
        "saga_watermark WHERE id = 1 AND watermark <= X'{}'",
        told.checkout_id.replace('-', "")
    );
    for db in shop.schemas() {
        assert_eq!(Shop::rows(db, &at).await, 1, "above all that ever began");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_found_no_row_before_its_saga_was_purged_does_nothing() {
    const WAITS: &str = "information_schema.innodb_trx t JOIN information_schema.processlist p \
        ON p.id = t.trx_mysql_thread_id WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()";
    let stage = Stage::start(patient()).await;
    let Stage { shop, node, .. } = &*stage;
    let case = cases(node).into_iter().find(|case| case.step() == "DebitWallet").unwrap();
    let world = stage.world(&case).await;
    stage.ask(&world).await.unwrap();
    let after = shop.snapshot(&world).await;
    // The same debit for a saga that is over when it comes.
    let other = Uuid::now_v7();
    let packet = shop.wire.first(&world.trace, "DebitWallet").readdressed(other);

    let mut holder = shop.wallet.session().await.unwrap();
    let hold = format!("UPDATE wallet SET balance = balance WHERE user_id = {}", world.user);
    holder.conn().batch_execute(&hold).await.unwrap();
    let purge = async {
        // It has looked for its row, read the watermark, and waits for the wallet's row.
        let waits = || async {
            // The server renews its list only when nobody has looked for 100 ms.
            tokio::time::sleep(Duration::from_millis(150)).await;
            (Shop::rows(&shop.wallet, WAITS).await > 0).then_some(())
        };
        until("the step waits", waits).await;
        set_watermarks(shop, other.into()).await;
        holder.rollback().await.unwrap();
    };
    let (late, ()) = tokio::join!(shop.wire.deliver(packet), purge);
    assert_eq!(late.unwrap(), StepAnswer::Acted(ActReply::Purged));
    assert_eq!(shop.snapshot(&world).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn housekeeping_beside_orders_forgets_only_what_has_ended() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let case = cases(&node).swap_remove(0);
    let success = shop.success(&node, case.scenario).await;
    let orders = async {
        for _ in 0..30 {
            let world = shop.world(&node, case.scenario).await;
            // Its second copy comes while others are being forgotten.
            shop.wire.next(&world.trace, case.step(), &[Fault::DOUBLED]);
            let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
            assert_eq!(told.state, CheckoutState::Succeeded);
            assert_eq!(shop.snapshot(&world).await, success);
        }
    };
    let mut forgotten = 0;
    let housekeeping = async {
        loop {
            forgotten += forget(&shop, &node).await;
        }
    };
    tokio::select! {
        () = orders => {}
        () = housekeeping => {}
    }
    assert!(forgotten > 0, "some had ended before the last began");
}
