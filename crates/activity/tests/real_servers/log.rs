//! What is in the log, whatever happens to the bus and whoever else writes.

use crate::support::{Follower, charge, charged, execute, lines, until};
use db::Script;
use events::{Event, Shard};
use tokio_util::sync::DropGuard;

/// A log that has had five charges of user 1, and follows no more.
async fn stopped_after_five() -> (Follower, DropGuard) {
    let follower = Follower::new().await;
    let relay = follower.relay();
    let replica = follower.follow();
    follower.charge(1, 1..=5).await;
    until(async || follower.rows().await.len() == 5).await;
    drop(replica);
    (follower, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_log_every_event_once() {
    let follower = Follower::new().await;
    let (_relay, _first, _second) = (follower.relay(), follower.follow(), follower.follow());
    for round in 0..10 {
        let mut together = Script::default();
        let charges: Vec<_> =
            (1..=40).map(|user| charge(user, round + 1, db::now_micros())).collect();
        events::outbox::append(&mut together, &charges).unwrap();
        follower.commit(together).await;
    }
    let expected: Vec<String> = (1..=40).flat_map(|user| charged(user, 1..=10)).collect();
    until(async || follower.rows().await.len() >= expected.len()).await;
    assert_eq!(follower.rows().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_finds_events_gone_logs_them_from_the_outbox_and_none_twice() {
    let ((follower, _relay), shard) = (stopped_after_five().await, Shard::of("wallet", 1));
    follower.charge(1, 6..=9).await;
    follower.published().await;
    follower.trim(shard, 9).await;
    let _replica = follower.follow();
    until(async || follower.reach(shard).await == "9 0").await;
    assert_eq!(follower.rows().await, charged(1, 1..=9));
    follower.charge(1, 10..=10).await;
    until(async || follower.rows().await.len() == 10).await;
    assert_eq!(follower.rows().await, charged(1, 1..=10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_positions_begins_again_and_doubles_nothing() {
    let ((follower, _relay), shard) = (stopped_after_five().await, Shard::of("wallet", 1));
    execute(&follower.log, "DELETE FROM consumer_position").await;
    follower.charge(1, 6..=6).await;
    let _replica = follower.follow();
    until(async || follower.reach(shard).await == "6 0").await;
    assert_eq!(follower.rows().await, charged(1, 1..=6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_late_has_what_the_outbox_retains_and_says_where_it_begins() {
    let follower = Follower::new().await;
    let (_relay, shard) = (follower.relay(), Shard::of("wallet", 1));
    follower.charge(1, 1..=6).await;
    follower.published().await;
    execute(&follower.wallet, "DELETE FROM outbox WHERE position <= 3").await;
    let _replica = follower.follow();
    until(async || follower.reach(shard).await == "6 1").await;
    assert_eq!(follower.rows().await, charged(1, 4..=6));
    let first = "SELECT CAST(MIN(occurred_at) AS CHAR) AS line FROM activity_log";
    let from = format!(
        "SELECT CAST(complete_from AS CHAR) AS line FROM consumer_position \
        WHERE source = 'wallet' AND shard = {shard}"
    );
    assert_eq!(lines(&follower.log, first).await, lines(&follower.log, &from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_types_in_full_and_keeps_those_of_later_versions() {
    let follower = Follower::new().await;
    let (_relay, _replica) = (follower.relay(), follower.follow());
    // The widest that an outbox holds.
    let later = format!("commerce.wallet.v1.Wallet{}", "x".repeat(39));
    let known = charge(1, 1, db::now_micros());
    let unknown = Event { event_type: later.clone(), ..charge(1, 2, db::now_micros()) };
    let mut writes = Script::default();
    for event in [known, unknown] {
        events::outbox::append(&mut writes, &[event]).unwrap();
    }
    follower.commit(writes).await;
    let rows = "SELECT CONCAT_WS(' ', event_type, kind, version, user_id, HEX(payload)) AS line \
        FROM activity_log ORDER BY version";
    until(async || lines(&follower.log, rows).await.len() == 2).await;
    let rows = lines(&follower.log, rows).await;
    assert_eq!(rows[0], "commerce.wallet.v1.WalletCharged CHARGE 1 1 0801100118012001");
    assert_eq!(rows[1], format!("{later} OTHER 2 0801100218012002"));
}
