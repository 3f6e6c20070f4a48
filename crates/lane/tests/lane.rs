//! Lanes on a real server: what shares a commit, what runs again, what fails alone, and what is turned away.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use db::{Conn, Db, LockWait, Options};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use lane::{Decided, Error, Lane, Priority, Work};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Inserts a number; each number once, whoever comes first.
struct Insert {
    /// Batches wait here before they touch the database.
    gate: Semaphore,
    /// Sizes of the batches that were run, added up.
    operations: AtomicUsize,
    runs: AtomicUsize,
    /// The next run ends its own connection before it returns.
    kill_self: AtomicBool,
    /// The next run meets a row that was inserted behind its back.
    overtaken: AtomicBool,
}

const POISON: i64 = -1;

impl Insert {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            operations: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            kill_self: AtomicBool::new(false),
            overtaken: AtomicBool::new(false),
        })
    }

    fn closed() -> Arc<Self> {
        let work = Self::new();
        work.gate.forget_permits(Semaphore::MAX_PERMITS);
        work
    }
}

#[derive(diesel::QueryableByName)]
struct Found {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

async fn numbers(conn: &mut Conn) -> Vec<i64> {
    let rows: Vec<Found> =
        diesel::sql_query("SELECT n FROM numbers ORDER BY n").load(conn).await.unwrap();
    rows.into_iter().map(|row| row.n).collect()
}

impl Work for Insert {
    type Op = i64;
    type Reply = bool;
    type Key = ();

    async fn run(&self, conn: &mut Conn, ops: &[&i64], _: LockWait) -> db::Result<Decided<bool>> {
        self.gate.acquire().await.unwrap().forget();
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.operations.fetch_add(ops.len(), Ordering::SeqCst);
        let mut there = numbers(conn).await;
        if self.overtaken.swap(false, Ordering::SeqCst) {
            there.clear();
        }
        let mut replies = Vec::new();
        for op in ops {
            let new = !there.contains(op);
            if new {
                there.push(**op);
                let value = if **op == POISON { "'poison'".to_owned() } else { op.to_string() };
                conn.batch_execute(&format!("INSERT INTO numbers VALUES ({value})")).await?;
            }
            replies.push(new);
        }
        if self.kill_self.swap(false, Ordering::SeqCst) {
            // As if the server had died between the last statement and COMMIT.
            let _ = conn.batch_execute("KILL CONNECTION_ID()").await;
        }
        Ok(Decided { replies, writes: db::Script::default() })
    }
}

struct Rig {
    lane: Lane<Insert>,
    work: Arc<Insert>,
    db: Db,
}

impl Rig {
    async fn new(work: Arc<Insert>, options: lane::Options) -> Self {
        let url = testkit::fresh_database("lane").await;
        let db = Db::open(Options::new(url)).await.unwrap();
        db.read(async |conn: &mut Conn| -> db::Result<()> {
            conn.batch_execute("CREATE TABLE numbers (n BIGINT PRIMARY KEY)").await?;
            Ok(())
        })
        .await
        .unwrap();
        let lane = Lane::start("test", db.clone(), Arc::clone(&work), options, &TaskTracker::new());
        Self { lane, work, db }
    }

    async fn insert(&self, n: i64) -> Result<bool, Error> {
        self.lane.submit(n, Priority::Normal, in_a_minute()).await
    }

    /// Queues these at once behind a batch that holds the lane, lets all run, and returns the answers in order.
    async fn behind_a_batch(&self, ns: impl IntoIterator<Item = i64>) -> Vec<Result<bool, Error>> {
        let mut asked: Vec<_> = ns.into_iter().map(|n| Box::pin(self.insert(n))).collect();
        for ask in &mut asked {
            // Polled once, an operation is queued.
            assert!(futures_poll_once(ask).await.is_none());
        }
        self.work.gate.add_permits(Semaphore::MAX_PERMITS >> 1);
        let mut answers = Vec::new();
        for ask in asked {
            answers.push(ask.await);
        }
        answers
    }

    async fn stored(&self) -> Vec<i64> {
        let read =
            self.db.read(async |conn: &mut Conn| -> db::Result<_> { Ok(numbers(conn).await) });
        read.await.unwrap()
    }
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_meanwhile_shares_one_transaction() {
    let rig = Rig::new(Insert::closed(), lane::Options::default()).await;
    let answers = rig.behind_a_batch(0..100).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap()));
    assert_eq!(rig.stored().await, (0..100).collect::<Vec<_>>());
    let runs = rig.work.runs.fetch_add(0, Ordering::SeqCst);
    assert!(runs <= 2, "100 operations took {runs} transactions");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_one_batch_see_each_other_in_order_of_arrival() {
    let rig = Rig::new(Insert::closed(), lane::Options::default()).await;
    let answers = rig.behind_a_batch([7, 7, 7]).await;
    let answers: Vec<bool> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_the_server_refuses_fails_alone() {
    let rig = Rig::new(Insert::closed(), lane::Options::default()).await;
    let answers = rig.behind_a_batch([1, 2, POISON, 3, 4]).await;
    let failed: Vec<bool> = answers.iter().map(Result::is_err).collect();
    assert_eq!(failed, [false, false, true, false, false]);
    assert!(matches!(answers[2], Err(Error::Failed { .. })));
    assert_eq!(rig.stored().await, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_overtaken_runs_again_as_a_whole() {
    let rig = Rig::new(Insert::closed(), lane::Options::default()).await;
    rig.db
        .read(async |conn: &mut Conn| -> db::Result<()> {
            conn.batch_execute("INSERT INTO numbers VALUES (2)").await?;
            Ok(())
        })
        .await
        .unwrap();
    rig.work.overtaken.store(true, Ordering::SeqCst);
    let answers = rig.behind_a_batch([1, 2, 3]).await;
    let answers: Vec<bool> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [true, false, true]);
    assert_eq!(rig.stored().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_at_commit_is_settled_without_the_caller_noticing() {
    let rig = Rig::new(Insert::new(), lane::Options::default()).await;
    assert!(rig.insert(1).await.unwrap());
    rig.work.kill_self.store(true, Ordering::SeqCst);
    rig.insert(2).await.unwrap();
    assert!(rig.insert(3).await.unwrap());
    assert_eq!(rig.stored().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_rests_longer_than_the_server_waits_still_works() {
    let rig = Rig::new(Insert::new(), lane::Options::default()).await;
    assert!(rig.insert(1).await.unwrap());
    let mut session = rig.db.session().await.unwrap();
    session.conn().set_statement_timeout(Duration::from_secs(30));
    let pause = "SELECT SLEEP(6)";
    let _: Vec<Slept> = diesel::sql_query(pause).load(session.conn()).await.unwrap();
    assert!(rig.insert(2).await.unwrap());
}

#[derive(diesel::QueryableByName)]
struct Slept {
    #[diesel(sql_type = diesel::sql_types::Integer, column_name = "SLEEP(6)")]
    #[expect(dead_code, reason = "only the waiting counts")]
    slept: i32,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_turns_new_work_away_and_keeps_room_for_what_must_end() {
    let options = lane::Options { capacity: 8, ..lane::Options::default() };
    let rig = Rig::new(Insert::closed(), options).await;
    let mut asked = Vec::new();
    let mut turned_away = None;
    for n in 0..32 {
        let mut ask = Box::pin(rig.insert(n));
        match futures_poll_once(&mut ask).await {
            None => asked.push(ask),
            Some(answer) => {
                turned_away = Some((n, answer));
                break;
            }
        }
    }
    let (refused, answer) = turned_away.unwrap();
    assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
    let mut urgent = Box::pin(rig.lane.submit(1_000, Priority::Reserved, in_a_minute()));
    assert!(futures_poll_once(&mut urgent).await.is_none(), "the reserved share was full");
    rig.work.gate.add_permits(Semaphore::MAX_PERMITS >> 1);
    for ask in asked {
        assert!(ask.await.unwrap());
    }
    assert!(urgent.await.unwrap());
    let mut expected: Vec<i64> = (0..refused).collect();
    expected.push(1_000);
    assert_eq!(rig.stored().await, expected, "what was turned away left something");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_deadline_passed_in_the_queue_never_runs() {
    let rig = Rig::new(Insert::closed(), lane::Options::default()).await;
    let mut first = Box::pin(rig.insert(1));
    assert!(futures_poll_once(&mut first).await.is_none());
    let soon = Instant::now() + Duration::from_millis(30);
    let mut late = Box::pin(rig.lane.submit(2, Priority::Normal, soon));
    assert!(futures_poll_once(&mut late).await.is_none());
    tokio::time::sleep_until(soon).await;
    rig.work.gate.add_permits(Semaphore::MAX_PERMITS >> 1);
    // Queued together, the late one may have been taken in the first batch before its deadline; then it ran.
    let late = late.await;
    first.await.unwrap();
    let ran = rig.stored().await.contains(&2);
    assert_eq!(late.is_ok(), ran, "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_lane_runs_what_it_took_and_takes_no_more() {
    let rig = Rig::new(Insert::closed(), lane::Options::default()).await;
    let mut taken = Box::pin(rig.insert(1));
    assert!(futures_poll_once(&mut taken).await.is_none());
    rig.lane.close();
    assert!(matches!(rig.insert(2).await, Err(Error::Closed(_))));
    rig.work.gate.add_permits(Semaphore::MAX_PERMITS >> 1);
    assert!(taken.await.unwrap());
    assert_eq!(rig.stored().await, [1]);
}
