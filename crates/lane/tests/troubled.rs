//! Lanes in trouble: what one operation, one row or one connection may cost the others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use db::{Conn, Db, LockWait, Options, Session};
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use lane::{Decided, Error, Lane, Priority, Work};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testkit::Proxy;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Rows that can be counted up.
const ROWS: i64 = 64;
/// A row whose operation panics.
const PANICS: i64 = -1;
/// Batches of more operations end their connection.
const TOO_MANY: usize = 4;

/// Counts a row up.
#[derive(Default)]
struct Count {
    /// Operations that were run, over all tries.
    tried: AtomicUsize,
    ends_large_batches: bool,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Work for Count {
    type Op = (i64, Option<u64>);
    type Reply = bool;
    type Key = u64;

    async fn run(
        &self,
        conn: &mut Conn,
        ops: &[&Self::Op],
        wait: LockWait,
    ) -> db::Result<Decided<bool>> {
        self.tried.fetch_add(ops.len(), Ordering::SeqCst);
        assert!(ops.iter().all(|(row, _)| *row != PANICS), "this is what the test is about");
        let mut rows: Vec<i64> = ops.iter().map(|(row, _)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        let rows: Vec<String> = rows.iter().map(i64::to_string).collect();
        let mut sql = format!("SELECT n FROM counts WHERE n IN ({}) FOR UPDATE", rows.join(","));
        if wait == LockWait::Refuse {
            let _ = write!(sql, " NOWAIT");
        }
        let _: Vec<Row> = diesel::sql_query(sql).load(conn).await?;
        for (row, _) in ops {
            let count = format!("UPDATE counts SET count = count + 1 WHERE n = {row}");
            conn.batch_execute(&count).await?;
        }
        if self.ends_large_batches && ops.len() > TOO_MANY {
            let _ = conn.batch_execute("KILL CONNECTION_ID()").await;
        }
        Ok(Decided { replies: vec![false; ops.len()], writes: db::Script::default() })
    }

    fn key(&self, (_, key): &Self::Op) -> Option<u64> {
        *key
    }

    fn repeated(_: &bool) -> bool {
        true
    }
}

struct Rig {
    lane: Lane<Count>,
    work: Arc<Count>,
    db: Db,
}

impl Rig {
    async fn new(work: Count) -> Self {
        Self::by(&testkit::fresh_database("lane").await, None, work).await
    }

    /// The lane, but not the test, reaches the database by way of the proxy.
    async fn by(url: &str, proxy: Option<&Proxy>, work: Count) -> Self {
        let db = Db::open(Options::new(url)).await.unwrap();
        let values: Vec<String> = (0..ROWS).map(|n| format!("({n}, 0)")).collect();
        let values = values.join(",");
        db.read(async move |conn: &mut Conn| -> db::Result<()> {
            let table = "CREATE TABLE counts (n BIGINT PRIMARY KEY, count BIGINT NOT NULL)";
            conn.batch_execute(table).await?;
            Ok(conn.batch_execute(&format!("INSERT INTO counts VALUES {values}")).await?)
        })
        .await
        .unwrap();
        let lanes = match proxy {
            Some(proxy) => Db::open(Options::new(proxy.url())).await.unwrap(),
            None => db.clone(),
        };
        let work = Arc::new(work);
        let options =
            lane::Options { max_wait: Duration::from_mins(1), ..lane::Options::default() };
        let lane = Lane::start("test", lanes, Arc::clone(&work), options, &TaskTracker::new());
        Self { lane, work, db }
    }

    async fn count(&self, row: i64) -> Result<bool, Error> {
        self.ask((row, None)).await
    }

    async fn ask(&self, op: (i64, Option<u64>)) -> Result<bool, Error> {
        let deadline = Instant::now() + Duration::from_mins(1);
        self.lane.submit(op, Priority::Normal, deadline).await
    }

    /// Asks for these at once; the answers in any order.
    async fn all(&self, rows: impl IntoIterator<Item = i64>) -> Vec<Result<bool, Error>> {
        let mut asked = JoinSet::new();
        for row in rows {
            let lane = self.lane.clone();
            let deadline = Instant::now() + Duration::from_mins(1);
            asked.spawn(async move { lane.submit((row, None), Priority::Normal, deadline).await });
        }
        asked.join_all().await
    }

    /// Somebody who has locked a row.
    async fn stranger(&self, row: i64) -> Session {
        let mut session = self.db.session().await.unwrap();
        let lock = format!("UPDATE counts SET count = count + 0 WHERE n = {row}");
        session.conn().batch_execute(&lock).await.unwrap();
        session
    }

    async fn counted(&self, row: i64) -> i64 {
        let sql = format!("SELECT count AS n FROM counts WHERE n = {row}");
        let read = self.db.read(async move |conn: &mut Conn| -> db::Result<Row> {
            Ok(diesel::sql_query(sql).get_result(conn).await?)
        });
        read.await.unwrap().n
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_stranger_holds_holds_up_no_other() {
    let rig = Arc::new(Rig::new(Count::default()).await);
    let mut stranger = rig.stranger(0).await;
    let mut held = JoinSet::new();
    // All the time somebody else asks for the row, too.
    let ask_for_it = |held: &mut JoinSet<_>| {
        let rig = Arc::clone(&rig);
        held.spawn(async move { rig.count(0).await });
    };
    for _ in 0..50 {
        ask_for_it(&mut held);
        let answers = rig.all(1..ROWS).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        stranger.ping().await.unwrap();
    }
    let answered = held.try_join_next();
    assert!(answered.is_none(), "the row is not free: {answered:?}");
    assert_eq!(rig.lane.health().put_off, 50);
    assert!(rig.lane.health().failing_since.is_none());
    stranger.rollback().await.unwrap();
    assert!(held.join_all().await.iter().all(Result::is_ok));
    for row in 0..ROWS {
        assert_eq!(rig.counted(row).await, 50, "row {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_what_waits_takes_no_place_of_its_own() {
    let rig = Arc::new(Rig::new(Count::default()).await);
    let mut stranger = rig.stranger(0).await;
    let mut asked = JoinSet::new();
    for _ in 0..10 {
        let rig = Arc::clone(&rig);
        asked.spawn(async move { rig.ask((0, Some(7))).await.unwrap() });
    }
    while rig.lane.health().put_off == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        stranger.ping().await.unwrap();
    }
    assert_eq!((rig.lane.health().put_off, rig.lane.health().queued), (1, 0));
    stranger.rollback().await.unwrap();
    let repeats = asked.join_all().await.into_iter().filter(|is_repeat| *is_repeat).count();
    assert_eq!(repeats, 9);
    assert_eq!(rig.counted(0).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_panics_fails_alone_and_the_lane_goes_on() {
    let rig = Rig::new(Count::default()).await;
    let answers = rig.all([1, 2, PANICS, 3, 4]).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    assert!(rig.lane.health().panics > 0);
    rig.count(5).await.unwrap();
    for row in 1..=5 {
        assert_eq!(rig.counted(row).await, 1, "row {row}");
    }
    assert!(rig.lane.health().failing_since.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_ends_every_connection_is_split() {
    let rig = Rig::new(Count { ends_large_batches: true, ..Count::default() }).await;
    let answers = rig.all(0..16).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for row in 0..16 {
        assert_eq!(rig.counted(row).await, 1, "row {row}");
    }
    assert!(
        rig.work.tried.fetch_add(0, Ordering::SeqCst) < 16 * 16,
        "it was tried again and again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_tells_that_it_fails_and_heals_without_a_caller() {
    let url = testkit::fresh_database("lane").await;
    let proxy = Proxy::before(&url).await;
    let rig = Rig::by(&url, Some(&proxy), Count::default()).await;
    rig.count(1).await.unwrap();
    let before = rig.lane.health();
    assert!(before.succeeded_at.is_some() && before.failing_since.is_none());

    proxy.cut_all();
    let deadline = Instant::now() + Duration::from_millis(500);
    let answer = rig.lane.submit((1, None), Priority::Normal, deadline).await;
    assert!(matches!(answer, Err(Error::DeadlineExceeded(_) | Error::Unknown(_))), "{answer:?}");
    assert!(rig.lane.health().failing_since.is_some());

    proxy.heal();
    let healed = async {
        while rig.lane.health().failing_since.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), healed).await.unwrap();
    assert!(rig.lane.health().succeeded_at > before.succeeded_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_connection_fell_silent_goes_on_with_another() {
    let url = testkit::fresh_database("lane").await;
    let proxy = Proxy::before(&url).await;
    let rig = Rig::by(&url, Some(&proxy), Count::default()).await;
    rig.count(1).await.unwrap();
    proxy.swallow_existing();
    let answer = tokio::time::timeout(Duration::from_secs(30), rig.count(1)).await;
    answer.expect("the lane waits for ever").unwrap();
    assert_eq!(rig.counted(1).await, 2);
}
