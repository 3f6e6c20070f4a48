//! Days of the log: made ahead, dropped when they are old, and never in the way of an event.

use crate::support::{Follower, charge, lines, until};
use activity::Keeper;
use chrono::{DateTime, Utc};
use db::{Db, Script, Session};
use diesel_async::SimpleAsyncConnection;
use lock::{Locks, Turn};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_hours(24);

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The partitions, and how many rows each has.
async fn days(db: &Db) -> Vec<String> {
    let sql = "SELECT partition_name AS line FROM information_schema.partitions \
        WHERE table_schema = DATABASE() AND table_name = 'activity_log' \
        ORDER BY partition_ordinal_position";
    let mut days = Vec::new();
    for name in lines(db, sql).await {
        let count =
            format!("SELECT CAST(COUNT(*) AS CHAR) AS line FROM activity_log PARTITION ({name})");
        days.push(format!("{name} {}", lines(db, &count).await.pop().unwrap()));
    }
    days
}

async fn logged(follower: &Follower, user_id: i64, occurred: &[&str]) {
    let before = follower.rows().await.len();
    let mut writes = Script::default();
    for (seq, occurred_at) in (1..).zip(occurred) {
        let charge = charge(user_id, seq, at(occurred_at));
        events::outbox::append(&mut writes, &[charge]).unwrap();
    }
    follower.commit(writes).await;
    until(async || follower.rows().await.len() == before + occurred.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_days_without_a_partition_are_logged_and_find_their_day() {
    let follower = Follower::new().await;
    let (_relay, _replica) = (follower.relay(), follower.follow());
    let keeper = Keeper::new(follower.log.clone(), 5 * DAY);
    logged(&follower, 1, &["2026-11-25T12:00:00Z", "2026-11-26T12:00:00Z"]).await;
    assert_eq!(days(&follower.log).await, ["late 2"]);
    let plan = keeper.round(at("2026-11-26T12:00:00Z")).await.unwrap();
    assert_eq!((plan.add.len(), plan.drop.len()), (8, 0));
    // One before all days, one at the first instant of a day, one at a last one, one after all days.
    let odd = [
        "2026-10-01T00:00:00Z",
        "2026-11-27T00:00:00Z",
        "2026-11-28T23:59:59.999999Z",
        "2026-11-30T00:00:00Z",
    ];
    logged(&follower, 2, &odd).await;
    let expected = [
        "d20261122 1",
        "d20261123 0",
        "d20261124 0",
        "d20261125 1",
        "d20261126 1",
        "d20261127 1",
        "d20261128 1",
        "d20261129 0",
        "late 1",
    ];
    assert_eq!(days(&follower.log).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_with_all_its_rows_when_its_last_instant_is_too_old() {
    let follower = Follower::new().await;
    let (_relay, _replica) = (follower.relay(), follower.follow());
    let keeper = Keeper::new(follower.log.clone(), 4 * DAY);
    keeper.round(at("2026-11-26T00:00:00Z")).await.unwrap();
    let occurred = ["2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-26T00:00:00Z"];
    logged(&follower, 1, &occurred).await;
    let plan = keeper.round(at("2026-11-26T23:59:59Z")).await.unwrap();
    assert_eq!((plan.add.len(), plan.drop.len()), (0, 0));
    let plan = keeper.round(at("2026-11-27T00:00:00Z")).await.unwrap();
    assert_eq!((plan.add.len(), plan.drop.len()), (1, 1));
    let there = days(&follower.log).await;
    assert_eq!((there[0].as_str(), there.len()), ("d20261123 1", 9));
    assert_eq!(follower.rows().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_being_read_goes_later_and_holds_up_no_event() {
    let follower = Follower::new().await;
    let (_relay, _replica) = (follower.relay(), follower.follow());
    let keeper = Keeper::new(follower.log.clone(), DAY);
    keeper.round(at("2026-11-26T00:00:00Z")).await.unwrap();
    let mut reader = follower.log.session().await.unwrap();
    read(&mut reader).await;
    keeper.round(at("2026-11-27T00:00:00Z")).await.unwrap_err();
    logged(&follower, 1, &["2026-11-26T00:00:00Z"]).await;
    reader.rollback().await.unwrap();
    let plan = keeper.round(at("2026-11-27T00:00:00Z")).await.unwrap();
    assert!(!plan.drop.is_empty());
}

/// Reads the log and leaves the transaction open.
async fn read(session: &mut Session) {
    let sql = "SET SESSION wait_timeout = 600; DO (SELECT COUNT(*) FROM activity_log)";
    session.conn().batch_execute(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_keep_the_days_at_once_do_no_harm() {
    let follower = Follower::new().await;
    let now = at("2026-11-26T00:00:00Z");
    let rounds = (0..4).map(|_| {
        let keeper = Keeper::new(follower.log.clone(), 90 * DAY);
        tokio::spawn(async move { keeper.round(now).await })
    });
    let mut made = 0;
    for round in rounds.collect::<Vec<_>>() {
        made += round.await.unwrap().map_or(0, |plan| plan.add.len());
    }
    assert_eq!(made, 8);
    assert_eq!(days(&follower.log).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_turns_at_keeping_the_days() {
    let follower = Follower::new().await;
    let client = redis::Client::open(follower.redis.url()).unwrap();
    let locks = Locks::new(client, "test").unwrap();
    let elsewhere = locks.acquire("days", Duration::ZERO).await.unwrap();
    let keeper = Keeper::new(follower.log.clone(), 90 * DAY);
    let turn = Turn::new(Some(locks), "days");
    assert!(turn.run(keeper.round(Utc::now())).await.is_none());
    elsewhere.release().await.unwrap();
    let cancel = CancellationToken::new();
    let _running = cancel.clone().drop_guard();
    tokio::spawn(keeper.run(Duration::from_millis(1), turn, cancel));
    until(async || days(&follower.log).await.len() == 9).await;
}
