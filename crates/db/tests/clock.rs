//! What may be concluded from the clocks, on a real server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use chrono::Utc;
use db::{Conn, Db, Options};
use diesel_async::SimpleAsyncConnection;
use migrations::Schema;
use std::time::Duration;

const NONE: Duration = Duration::ZERO;

async fn execute(db: &Db, sql: &str) {
    let done = db.read(async |conn: &mut Conn| -> db::Result<()> {
        conn.batch_execute(sql).await?;
        Ok(())
    });
    done.await.unwrap();
}

/// The same schema as another process sees it.
async fn other(url: &str) -> Db {
    Db::open(Options::new(url)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_beside_the_databases_is_trusted_and_ages_are_counted_from_it() {
    let (db, _) = testkit::database(Schema::Wallet).await;
    let clock = db.clock();
    assert!(clock.offset().is_none());
    assert!(!clock.is_trusted_to_delete(), "nothing is known");
    assert!(clock.is_ready(), "which is not the clock's fault");
    clock.measure().await.unwrap();
    assert!(clock.is_trusted_to_delete() && clock.is_ready());
    let before = clock.cutoff(NONE).await.unwrap().unwrap();
    assert!(before <= Utc::now());
    let hour = Duration::from_hours(1);
    let old = clock.cutoff(hour).await.unwrap().unwrap();
    assert!(old <= Utc::now() - hour && old > before - 2 * hour);
    assert_eq!(clock.cutoff(Duration::MAX).await.unwrap(), None, "nothing is that old");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_while_the_clocks_are_ahead_of_the_record_until_an_operator_says_so() {
    let (db, url) = testkit::database(Schema::Activity).await;
    assert!(db.clock().cutoff(NONE).await.unwrap().is_some());
    // As if both clocks had gone on by two hours since, within a second.
    execute(&db, "UPDATE clock_mark SET mark_at = mark_at - INTERVAL 2 HOUR").await;
    assert!(db.clock().cutoff(NONE).await.unwrap().is_some(), "this process knows better");
    execute(&db, "UPDATE clock_mark SET mark_at = mark_at - INTERVAL 2 HOUR").await;
    let started = other(&url).await;
    assert_eq!(started.clock().cutoff(NONE).await.unwrap(), None);
    let (ahead_at, _) = started.clock().record().await.unwrap().unwrap().ahead.unwrap();
    assert!(ahead_at <= Utc::now());

    started.clock().accept("kim", "the shop was closed").await.unwrap();
    assert!(started.clock().cutoff(NONE).await.unwrap().is_some());
    assert!(other(&url).await.clock().cutoff(NONE).await.unwrap().is_some());
    let record = db.clock().record().await.unwrap().unwrap();
    assert_eq!((record.actor.as_str(), record.reason.as_str()), ("kim", "the shop was closed"));
    assert!(record.ahead.is_none() && record.accepted_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_has_run_away_is_believed_after_a_day_of_being_watched() {
    let (db, url) = testkit::database(Schema::Product).await;
    assert!(db.clock().cutoff(NONE).await.unwrap().is_some());
    execute(&db, "UPDATE clock_mark SET mark_at = mark_at - INTERVAL 9 DAY").await;
    let started = other(&url).await;
    assert_eq!(started.clock().cutoff(NONE).await.unwrap(), None);
    execute(&db, "UPDATE clock_mark SET ahead_for = 86399000000").await;
    assert_eq!(other(&url).await.clock().cutoff(NONE).await.unwrap(), None, "not a day yet");
    execute(&db, "UPDATE clock_mark SET ahead_for = 86400000000").await;
    assert!(other(&url).await.clock().cutoff(NONE).await.unwrap().is_some());
}
