//! The server that takes writes is another one, or takes none: connections follow, and nobody else's session is ended.

use crate::support::{dsl, filled_on, read, row, server, value_of};
use db::{Conn, Db, Error, Options, Session};
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use std::time::Duration;
use tokio::time::timeout;

async fn write(conn: &mut Conn) -> db::Result<()> {
    let row = diesel::update(dsl::distinct_row.find(1));
    row.set(dsl::value.eq(5)).execute(conn).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_became_read_only_is_left_and_taken_again_when_it_writes() {
    let server = server(&[]).await;
    let url = filled_on(&server).await;
    let mut root = Conn::establish(&url).await.unwrap();
    let plain = "CREATE USER plain@'%' IDENTIFIED BY 'word'; GRANT ALL ON faults.* TO plain@'%'";
    root.batch_execute(plain).await.unwrap();
    let as_plain = server.url_for("plain", "word", "faults");
    let db = Db::open(Options::new(as_plain)).await.unwrap();
    let mut lane = db.session().await.unwrap();
    write(lane.conn()).await.unwrap();
    lane.rollback().await.unwrap();
    let mut idle = db.session().await.unwrap();
    read(&db, 1).await.unwrap();
    root.batch_execute("SET GLOBAL read_only = 1").await.unwrap();
    let refused = write(lane.conn()).await;
    assert!(matches!(refused, Err(Error::Lost(_))), "{refused:?}");
    assert!(matches!(row(lane.conn(), 1).await, Err(Error::Lost(_))), "it is of no more use");
    // Nobody reads there either: what it knows grows old.
    assert!(matches!(row(idle.conn(), 1).await, Err(Error::Lost(_))));
    assert!(matches!(idle.ping().await, Err(Error::Lost(_))));
    assert!(matches!(db.session().await, Err(Error::Lost(_))));
    let refused = db.tx(write).await;
    assert!(matches!(refused, Err(Error::Lost(_) | Error::Busy)), "{refused:?}");
    root.batch_execute("SET GLOBAL read_only = 0").await.unwrap();
    let healed = async { while db.tx(write).await.is_err() {} };
    timeout(Duration::from_secs(10), healed).await.expect("writes go on");
    assert_eq!(read(&db, 1).await.unwrap(), 5);
    row(db.session().await.unwrap().conn(), 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_notices_that_its_server_became_read_only() {
    let server = server(&[]).await;
    let url = filled_on(&server).await;
    let db = Db::open(Options::new(url.as_str())).await.unwrap();
    let mut lane = db.session().await.unwrap();
    lane.ping().await.unwrap();
    let mut root = Conn::establish(&url).await.unwrap();
    root.batch_execute("SET GLOBAL read_only = 1").await.unwrap();
    assert!(matches!(lane.ping().await, Err(Error::Lost(_))));
    let mut options = Options::new(url);
    options.accepts_read_only = true;
    let audit = Db::open(options).await.unwrap();
    assert_eq!(read(&audit, 2).await.unwrap(), value_of(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_with_its_server_is_not_killed_in_a_stranger_s_place() {
    let server = server(&[]).await;
    let url = filled_on(&server).await;
    let db = Db::open(Options::new(url)).await.unwrap();
    let lost = db.session().await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    // Their numbers on the server are those that sessions had before it was killed.
    let mut strangers: Vec<Session> = Vec::new();
    for _ in 0..40 {
        strangers.push(db.session().await.unwrap());
    }
    db.kill(lost.id()).await.unwrap();
    for stranger in &mut strangers {
        stranger.ping().await.unwrap();
    }
    // A session of this server is.
    let mut own = strangers.pop().unwrap();
    db.kill(own.id()).await.unwrap();
    assert!(matches!(own.ping().await, Err(Error::Lost(_))));
    db.kill(own.id()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_forgets_its_commits_is_refused_by_every_new_connection() {
    let server = server(&[]).await;
    let url = filled_on(&server).await;
    let db = Db::open(Options::new(url.as_str())).await.unwrap();
    let mut root = Conn::establish(&url).await.unwrap();
    db.session().await.unwrap();
    root.batch_execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await.unwrap();
    let refused = db.session().await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::Unfit(_)), "{refused:?}");
    assert!(refused.to_string().contains("innodb_flush_log_at_trx_commit"), "{refused}");
    let refused = read(&db, 1).await.unwrap_err();
    assert!(refused.to_string().contains("innodb_flush_log_at_trx_commit"), "{refused}");
    root.batch_execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await.unwrap();
    assert_eq!(read(&db, 1).await.unwrap(), value_of(1));
}
