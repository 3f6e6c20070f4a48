//! Errors are told by their codes, counts are of matched rows, messages have a size, and a server is tried.

use crate::support::{dsl, filled, row, value_of};
use db::{Conflict, Conn, Db, Error, Options, Script, Unfit, probe};
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_known_by_their_codes_in_any_language() {
    let db = Db::open(Options::new(filled().await)).await.unwrap();
    let mut one = db.session().await.unwrap();
    let mut other = db.session().await.unwrap();
    let german = "SET SESSION lc_messages = 'de_DE', SESSION innodb_lock_wait_timeout = 1";
    other.conn().batch_execute(german).await.unwrap();
    let insert = diesel::insert_into(dsl::distinct_row).values((dsl::id.eq(1), dsl::value.eq(1)));
    let twice = insert.execute(other.conn()).await.map_err(Error::from);
    assert!(matches!(twice, Err(Error::Conflict(Conflict::Duplicate(_)))), "{twice:?}");
    other.rollback().await.unwrap();
    let lock = |id: i64| dsl::distinct_row.filter(dsl::id.eq(id)).for_update();
    lock(1).load::<(i64, i64)>(one.conn()).await.unwrap();
    let waits = lock(1).load::<(i64, i64)>(other.conn()).await.map_err(Error::from);
    assert!(matches!(waits, Err(Error::Conflict(Conflict::LockTimeout))), "{waits:?}");
    other.rollback().await.unwrap();
    let no_wait = lock(1).no_wait().load::<(i64, i64)>(other.conn()).await.map_err(Error::from);
    assert!(no_wait.as_ref().is_err_and(Error::is_lock_timeout), "{no_wait:?}");
    other.rollback().await.unwrap();
    // The server sees the circle, and lets one of the two go on.
    lock(2).load::<(i64, i64)>(other.conn()).await.unwrap();
    let (first, second) = tokio::join!(
        lock(2).load::<(i64, i64)>(one.conn()),
        lock(1).load::<(i64, i64)>(other.conn())
    );
    let ended = [first, second].map(|end| end.map_err(Error::from));
    let is_deadlock = |end: &db::Result<_>| matches!(end, Err(Error::Conflict(Conflict::Deadlock)));
    assert!(ended.iter().any(is_deadlock), "{ended:?}");
    one.rollback().await.unwrap();
    other.rollback().await.unwrap();
    let unknown = other.conn().batch_execute("SELECT nothing").await.map_err(Error::from);
    assert!(matches!(unknown, Err(Error::Server(_))), "{unknown:?}");
    db.kill(other.id()).await.unwrap();
    let killed = row(other.conn(), 1).await;
    assert!(matches!(killed, Err(Error::Lost(_))), "{killed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_counts_the_rows_that_it_matches_and_not_those_that_it_changes() {
    let db = Db::open(Options::new(filled().await)).await.unwrap();
    let mut session = db.session().await.unwrap();
    let same = diesel::update(dsl::distinct_row.find(1)).set(dsl::value.eq(value_of(1)));
    assert_eq!(same.execute(session.conn()).await.unwrap(), 1);
    let none = diesel::update(dsl::distinct_row.find(0)).set(dsl::value.eq(1));
    assert_eq!(none.execute(session.conn()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_message_is_not_sent_and_told_so() {
    let url = filled().await;
    let db = Db::open(Options::new(url)).await.unwrap();
    let mut session = db.session().await.unwrap();
    let count = session.conn().max_bytes() / 40;
    let mut script = Script::default();
    for id in 1_000..1_000 + i64::try_from(count).unwrap() {
        let row = (dsl::id.eq(id), dsl::value.eq(id));
        script.push(&diesel::insert_into(dsl::distinct_row).values(row)).unwrap();
    }
    let refused = session.commit(script).await.unwrap_err();
    assert!(refused.is_too_large() && !refused.is_lost(), "{refused:?}");
    session.rollback().await.unwrap();
    assert!(matches!(row(session.conn(), 1_000).await, Err(Error::Server(_))), "nothing was sent");
    assert_eq!(row(session.conn(), 1).await.unwrap(), (1, value_of(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_what_it_says_stands_the_probe() {
    let url = testkit::fresh_database("probe").await;
    let (one, other) = tokio::join!(probe(&url), probe(&url));
    one.and(other).unwrap();
    probe(&url).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_locks_exclude_nobody_is_refused_by_name() {
    let url = testkit::fresh_database("probe").await;
    let mut conn = Conn::establish(&url).await.unwrap();
    let table =
        "CREATE TABLE engine_probe (id BIGINT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=MyISAM";
    conn.batch_execute(table).await.unwrap();
    let refused = probe(&url).await.unwrap_err();
    let Error::Unfit(Unfit::Lacks { what, .. }) = &refused else { unreachable!("{refused}") };
    assert_eq!(*what, "a row lock excludes nobody");
}
