//! Every answer is its own question's, whatever was dropped where.

use crate::support::{self, ROWS, filled, filled_on, read, row, value_of};
use db::{Conn, Db, Error, Options, Script, Session};
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt as _;
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::dsl;
use testkit::Proxy;
use tokio::time::{sleep, timeout};

/// Calls of one test, and how they ended.
#[derive(Default)]
struct Tally {
    is_over: AtomicBool,
    answered: AtomicUsize,
    given_up: AtomicUsize,
    failed: AtomicUsize,
}

impl Tally {
    fn is_over(&self) -> bool {
        AtomicBool::load(&self.is_over, Ordering::Relaxed)
    }

    fn count<T>(&self, id: i64, answer: Result<db::Result<(i64, i64)>, T>) {
        let count = match answer {
            Ok(Ok(found)) => {
                let other = "an answer names another key than was asked for";
                assert_eq!(found, (id, value_of(id)), "{other}");
                &self.answered
            }
            Ok(Err(error)) => {
                let text = error.to_string();
                assert!(matches!(error, Error::Lost(_) | Error::Busy), "{text}");
                &self.failed
            }
            Err(_) => &self.given_up,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn call() -> (i64, Duration) {
    let mut rng = rand::rng();
    let patience = if rng.random_bool(0.5) { 1..20 } else { 20..2_000 };
    (rng.random_range(1..=ROWS), Duration::from_millis(rng.random_range(patience)))
}

/// Through the pool; the connections rest at times, so that they are asked whether they live.
async fn reader(db: Db, tally: Arc<Tally>) {
    while !tally.is_over() {
        let (id, patience) = call();
        let reading = db.read(async move |conn: &mut Conn| row(conn, id).await);
        tally.count(id, timeout(patience, reading).await);
        if rand::rng().random_bool(0.02) {
            sleep(Duration::from_millis(2_100)).await;
        }
    }
}

/// Like a lane, which does not look at what was dropped before it goes on.
async fn lane(db: Db, tally: Arc<Tally>) {
    let mut session: Option<Session> = None;
    while !tally.is_over() {
        let (id, patience) = call();
        let asking = async {
            if session.is_none() {
                session = Some(db.session().await?);
            }
            let session = session.as_mut().unwrap();
            let pings = rand::rng().random_bool(0.2);
            if pings {
                session.ping().await?;
            }
            let found = row(session.conn(), id).await?;
            session.rollback().await?;
            Ok(found)
        };
        let answer = timeout(patience, asking).await;
        if matches!(answer, Ok(Err(_))) {
            session = None;
        }
        tally.count(id, answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_names_another_key_while_the_server_stands_still_at_times() {
    let server = support::server(&[]).await;
    let url = filled_on(&server).await;
    let db = Db::open(Options::new(url)).await.unwrap();
    let tally = Arc::new(Tally::default());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..24 {
        callers.spawn(reader(db.clone(), Arc::clone(&tally)));
    }
    for _ in 0..4 {
        callers.spawn(lane(db.clone(), Arc::clone(&tally)));
    }
    let pid = server.pid().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())).unwrap();
    for _ in 0..3 {
        sleep(Duration::from_millis(700)).await;
        kill_process(pid, Signal::STOP).unwrap();
        let stands = rand::rng().random_range(500..2_000);
        sleep(Duration::from_millis(stands)).await;
        kill_process(pid, Signal::CONT).unwrap();
    }
    let answered_before = AtomicUsize::load(&tally.answered, Ordering::Relaxed);
    let healed = async {
        while AtomicUsize::load(&tally.answered, Ordering::Relaxed) < answered_before + 100 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), healed).await.expect("calls are answered again");
    tally.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    assert!(AtomicUsize::load(&tally.given_up, Ordering::Relaxed) > 0, "nobody was impatient");
}

/// Requests whose futures are dropped before their replies came.
#[derive(Debug, Clone, Copy)]
enum Dropped {
    Query,
    Stream,
    Text,
    Ping,
    Commit,
    Rollback,
}

impl Dropped {
    const ALL: [Self; 6] =
        [Self::Query, Self::Stream, Self::Text, Self::Ping, Self::Commit, Self::Rollback];
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_on_which_a_reply_is_due_answers_nothing_any_more() {
    let proxy = Proxy::before(&filled().await).await;
    let db = Db::open(Options::new(proxy.url())).await.unwrap();
    for dropped in Dropped::ALL {
        proxy.heal();
        let mut session = db.session().await.unwrap();
        assert_eq!(row(session.conn(), 1).await.unwrap(), (1, value_of(1)));
        proxy.delay(Duration::from_millis(200));
        let request = async {
            match dropped {
                Dropped::Query => row(session.conn(), 2).await.map(drop),
                Dropped::Stream => {
                    let rows = dsl::distinct_row.load_stream::<(i64, i64)>(session.conn()).await?;
                    rows.try_collect::<Vec<_>>().await?;
                    Ok(())
                }
                Dropped::Text => Ok(session.conn().batch_execute("DO 1").await?),
                Dropped::Ping => session.ping().await,
                Dropped::Commit => session.commit(Script::default()).await,
                Dropped::Rollback => session.rollback().await,
            }
        };
        assert!(timeout(Duration::from_millis(50), request).await.is_err(), "it was too fast");
        proxy.heal();
        // The reply that is due arrives, and a driver that knew nothing of it would take it for the next one's.
        let next = row(session.conn(), 3).await;
        assert!(matches!(next, Err(Error::Lost(_))), "{dropped:?}: {next:?}");
        assert!(matches!(session.ping().await, Err(Error::Lost(_))), "{dropped:?}");
        let unsent = session.commit(Script::default()).await;
        assert!(matches!(unsent, Err(Error::Lost(_))), "{dropped:?}: nothing was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_left_in_the_middle_ends_its_connection() {
    let url = filled().await;
    let db = Db::open(Options::new(url)).await.unwrap();
    let mut session = db.session().await.unwrap();
    // More rows than are read ahead.
    let sql = "SELECT a.id AS id, b.value AS value FROM distinct_row a, distinct_row b";
    let rows = diesel::sql_query(sql);
    let first = {
        let mut rows = rows.load_stream::<Pair>(session.conn()).await.unwrap();
        rows.try_next().await.unwrap()
    };
    assert!(first.is_some());
    assert!(matches!(row(session.conn(), 1).await, Err(Error::Lost(_))));
    // One that is read to its end does not, nor does the first row of a short one.
    let mut session = db.session().await.unwrap();
    let rows = diesel::sql_query(sql).load_stream::<Pair>(session.conn()).await.unwrap();
    let all: Vec<Pair> = rows.try_collect().await.unwrap();
    assert_eq!(all.len(), usize::try_from(ROWS * ROWS).unwrap());
    let first = dsl::distinct_row.order(dsl::id).first::<(i64, i64)>(session.conn()).await;
    assert_eq!(first.unwrap(), (1, value_of(1)));
    assert_eq!(row(session.conn(), 2).await.unwrap(), (2, value_of(2)));
}

#[derive(diesel::QueryableByName)]
struct Pair {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    #[expect(dead_code, reason = "it is counted, not looked at")]
    id: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_asked_for_is_not_answered_and_its_connection_not_used_again() {
    let db = Db::open(Options::new(filled().await)).await.unwrap();
    let wrong = async |conn: &mut Conn| -> db::Result<(i64, i64)> {
        let other: Vec<(i64, i64)> =
            dsl::distinct_row.filter(dsl::id.eq(2)).load(&mut *conn).await?;
        let rows = conn.asked_for("distinct_row", other, |(id, _): &(i64, i64)| *id == 1)?;
        Ok(rows[0])
    };
    let refused = db.read(wrong).await;
    assert!(matches!(&refused, Err(error @ Error::WrongRow(_)) if error.is_lost()), "{refused:?}");
    let refused = db.tx(wrong).await;
    assert!(matches!(refused, Err(Error::WrongRow(_))), "{refused:?}");
    let mut session = db.session().await.unwrap();
    assert!(wrong(session.conn()).await.is_err());
    assert!(matches!(row(session.conn(), 1).await, Err(Error::Lost(_))));
    assert_eq!(read(&db, 1).await.unwrap(), value_of(1));
}
