//! A table of rows that can be told apart, and servers of a test's own.

use db::{Conn, Db, Options, Session};
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use embedded::{MySql, MySqlOptions};
use std::time::Duration;

diesel::table! {
    distinct_row (id) {
        id -> BigInt,
        value -> BigInt,
    }
}

pub(crate) use distinct_row::dsl;

/// Rows of the table, with ids from 1 on.
pub(crate) const ROWS: i64 = 200;

const TABLE: &str = "CREATE TABLE distinct_row (id BIGINT PRIMARY KEY, value BIGINT NOT NULL) \
    ENGINE=InnoDB";

/// What the row with this id holds.
pub(crate) fn value_of(id: i64) -> i64 {
    id * 1_000 + 7
}

/// Makes the table in a schema.
pub(crate) async fn fill(url: &str) {
    let mut conn = Conn::establish(url).await.unwrap();
    conn.batch_execute(TABLE).await.unwrap();
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id}, {})", value_of(id))).collect();
    let insert = format!("INSERT INTO distinct_row VALUES {}", rows.join(", "));
    conn.batch_execute(&insert).await.unwrap();
}

/// A schema of the common server with the table in it.
pub(crate) async fn filled() -> String {
    let url = testkit::fresh_database("faults").await;
    fill(&url).await;
    url
}

/// A server of this test's own.
pub(crate) async fn server(arguments: &[&str]) -> MySql {
    let mut options = MySqlOptions::temporary();
    options.buffer_pool_mib = 32;
    options.redo_log_mib = Some(16);
    options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    MySql::start(options).await.unwrap()
}

/// A schema on a server of this test's own, with the table in it.
pub(crate) async fn filled_on(server: &MySql) -> String {
    let mut conn = Conn::establish(&server.url()).await.unwrap();
    conn.batch_execute("CREATE DATABASE faults").await.unwrap();
    let url = server.url_for("root", "", "faults");
    fill(&url).await;
    url
}

/// A database whose statements have one second each.
pub(crate) async fn hasty(url: &str) -> Db {
    let mut options = Options::new(url);
    options.statement_timeout = Duration::from_secs(1);
    options.connect_timeout = Duration::from_secs(2);
    Db::open(options).await.unwrap()
}

/// The row with this id.
pub(crate) async fn row(conn: &mut Conn, id: i64) -> db::Result<(i64, i64)> {
    Ok(dsl::distinct_row.find(id).first(conn).await?)
}

/// The value in the row with this id, read through the pool.
pub(crate) async fn read(db: &Db, id: i64) -> db::Result<i64> {
    let (found, value) = db.read(async move |conn: &mut Conn| row(conn, id).await).await?;
    assert_eq!(found, id, "an answer names another key than was asked for");
    Ok(value)
}

/// Whether the row can be locked at once.
pub(crate) async fn can_lock(session: &mut Session, id: i64) -> bool {
    let locked = dsl::distinct_row
        .filter(dsl::id.eq(id))
        .for_update()
        .no_wait()
        .load::<(i64, i64)>(session.conn())
        .await;
    session.rollback().await.unwrap();
    match locked.map_err(db::Error::from) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_lock_timeout(), "{error}");
            false
        }
    }
}

/// Waits until the row can be locked.
pub(crate) async fn until_free(url: &str, id: i64) {
    let db = Db::open(Options::new(url)).await.unwrap();
    let mut session = db.session().await.unwrap();
    while !can_lock(&mut session, id).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
