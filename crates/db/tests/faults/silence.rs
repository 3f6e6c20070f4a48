//! Connections that are open and silent: callers are answered soon again, and row locks do not stay.

use crate::support::{can_lock, dsl, filled, hasty, read, row, until_free, value_of};
use db::{Conn, Db, Error, Options, Script};
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use std::time::Duration;
use testkit::{AfterLoss, Proxy};
use tokio::time::{sleep, timeout};

/// Beyond the five seconds that the server waits for a silent session.
const PATIENCE: Duration = Duration::from_secs(15);
const LOCK: &str = "SELECT value FROM distinct_row WHERE id = 1 FOR UPDATE";

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_again_soon_after_all_connections_fell_silent() {
    let proxy = Proxy::before(&filled().await).await;
    let db = hasty(&proxy.url()).await;
    let mut lane = db.session().await.unwrap();
    for _ in 0..2 {
        let readers = (1..=8).map(|id| {
            let db = db.clone();
            tokio::spawn(async move { read(&db, id).await.unwrap() })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
    }
    proxy.swallow_existing();
    assert!(matches!(row(lane.conn(), 1).await, Err(Error::Lost(_))), "it has a deadline");
    let answered = async {
        // Every connection of the pool is gone, and every one of them is found out.
        for id in 1..=20 {
            while read(&db, id).await.is_err() {}
        }
        lane = db.session().await.unwrap();
        row(lane.conn(), 1).await.unwrap();
    };
    timeout(PATIENCE, answered).await.expect("calls are answered again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_closed_while_it_rested_fails_no_call() {
    let db = Db::open(Options::new(filled().await)).await.unwrap();
    let short = async |conn: &mut Conn| -> db::Result<()> {
        Ok(conn.batch_execute("SET SESSION wait_timeout = 1; DO SLEEP(0.05)").await?)
    };
    let resting = (0..8).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { db.read(short).await.unwrap() })
    });
    for made in resting.collect::<Vec<_>>() {
        made.await.unwrap();
    }
    sleep(Duration::from_millis(2_300)).await;
    for id in 1..=8 {
        assert_eq!(read(&db, id).await.unwrap(), value_of(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_row_lock_and_falls_silent_loses_it_in_seconds() {
    let url = filled().await;
    let proxy = Proxy::before(&url).await;
    let db = Db::open(Options::new(proxy.url())).await.unwrap();
    let mut lane = db.session().await.unwrap();
    lane.conn().batch_execute(LOCK).await.unwrap();
    let (told, mut locked) = tokio::sync::mpsc::channel(1);
    let pool = db.clone();
    let holder = tokio::spawn(async move {
        let hold = async move |conn: &mut Conn| -> db::Result<()> {
            conn.batch_execute("SELECT value FROM distinct_row WHERE id = 2 FOR UPDATE").await?;
            told.send(()).await.unwrap();
            std::future::pending().await
        };
        pool.tx(hold).await
    });
    locked.recv().await.unwrap();
    proxy.swallow_existing();
    let direct = Db::open(Options::new(url.as_str())).await.unwrap();
    let mut other = direct.session().await.unwrap();
    assert!(!can_lock(&mut other, 1).await && !can_lock(&mut other, 2).await);
    let freed = async { tokio::join!(until_free(&url, 1), until_free(&url, 2)) };
    timeout(PATIENCE, freed).await.expect("both rows are free");
    holder.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_in_a_statement_is_killed() {
    let url = filled().await;
    let mut options = Options::new(url.as_str());
    options.statement_timeout = Duration::from_mins(1);
    let db = Db::open(options).await.unwrap();
    let slow = async |conn: &mut Conn| -> db::Result<()> {
        conn.batch_execute(LOCK).await?;
        Ok(conn.batch_execute("DO SLEEP(60)").await?)
    };
    assert!(timeout(Duration::from_millis(300), db.tx(slow)).await.is_err());
    timeout(PATIENCE, until_free(&url, 1)).await.expect("its lock is free");
    // A lane's session alike.
    let mut lane = db.session().await.unwrap();
    lane.conn().batch_execute(LOCK).await.unwrap();
    let asleep = lane.conn().batch_execute("DO SLEEP(60)");
    assert!(timeout(Duration::from_millis(100), asleep).await.is_err());
    drop(lane);
    timeout(PATIENCE, until_free(&url, 1)).await.expect("its lock is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_happened_once() {
    for then in [AfterLoss::Cut, AfterLoss::Swallow] {
        let url = filled().await;
        let proxy = Proxy::before(&url).await;
        let db = hasty(&proxy.url()).await;
        let raise = async |conn: &mut Conn| -> db::Result<()> {
            let row = diesel::update(dsl::distinct_row.find(1));
            row.set(dsl::value.eq(dsl::value + 1)).execute(conn).await?;
            Ok(())
        };
        read(&db, 1).await.unwrap();
        proxy.lose_answer_to(b"COMMIT", then);
        let lost = db.tx(raise).await;
        assert!(matches!(lost, Err(Error::CommitUnknown(_))), "{lost:?}");
        proxy.until_lost(1).await;
        assert_eq!(read(&db, 1).await.unwrap(), value_of(1) + 1);
        // A lane's commit alike.
        let mut lane = db.session().await.unwrap();
        let mut writes = Script::default();
        let row = diesel::update(dsl::distinct_row.find(2));
        writes.push(&row.set(dsl::value.eq(5))).unwrap();
        proxy.lose_answer_to(b"COMMIT", then);
        let lost = lane.commit(writes).await;
        assert!(matches!(lost, Err(Error::CommitUnknown(_))), "{lost:?}");
        db.kill(lane.id()).await.unwrap();
        assert_eq!(read(&db, 2).await.unwrap(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_commit_never_arrived_is_over_when_its_caller_is_told() {
    let url = filled().await;
    let proxy = Proxy::before(&url).await;
    let db = hasty(&proxy.url()).await;
    let swallowed = async |conn: &mut Conn| -> db::Result<()> {
        let row = diesel::update(dsl::distinct_row.find(1));
        row.set(dsl::value.eq(5)).execute(conn).await?;
        proxy.swallow_existing();
        Ok(())
    };
    let lost = db.tx(swallowed).await;
    assert!(matches!(lost, Err(Error::CommitUnknown(_))), "{lost:?}");
    let direct = Db::open(Options::new(url.as_str())).await.unwrap();
    let mut other = direct.session().await.unwrap();
    assert!(can_lock(&mut other, 1).await, "its lock is free at once");
    assert_eq!(read(&db, 1).await.unwrap(), value_of(1));
}
