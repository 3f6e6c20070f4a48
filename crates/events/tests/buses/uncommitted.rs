//! `kill -9` of a process whose transaction has written a change and its event, and was not committed yet.

use crate::load::on_the_bus;
use crate::support::{append, bus, event, published, relay, schema_at, until};
use db::{Conn, Db, Options, Script};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use events::Bell;
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const DATABASE: &str = "EVENTS_TEST_UNCOMMITTED";
/// What the process says between the INSERT of its event and its COMMIT.
const WRITTEN: &str = "written and not committed";
/// The aggregate that everybody here changes: one shard, so that whoever is left out leaves a hole.
const ORDER: i64 = 1;
/// The version that the process that is killed makes.
const NEVER: i64 = 13;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the process that another test kills; does nothing by itself"]
async fn writes_and_is_killed_before_it_commits() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    let db = Db::open(Options::new(url)).await.unwrap();
    let mut writes = Script::default();
    events::outbox::append(&mut writes, &[event(ORDER, NEVER)]).unwrap();
    let change = async move |conn: &mut Conn| -> db::Result<()> {
        conn.batch_execute(&format!("INSERT INTO changed VALUES ({NEVER})")).await?;
        writes.run(conn).await?;
        println!("{WRITTEN}");
        std::future::pending().await
    };
    db.tx(change).await.unwrap();
}

async fn start(url: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["uncommitted::writes_and_is_killed_before_it_commits", "--exact", "--ignored"])
        .arg("--nocapture")
        .env(DATABASE, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = said.next_line().await.unwrap() {
        if line.contains(WRITTEN) {
            return child;
        }
    }
    panic!("it ended");
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    let read = async move |conn: &mut Conn| -> db::Result<Count> {
        Ok(sql_query(sql).get_result(conn).await?)
    };
    db.read(read).await.unwrap().count
}

/// Rows of this database that transactions hold which are not over: those of the process.
async fn uncommitted(db: &Db) -> i64 {
    // Without a transaction of its own this reads what is not committed, too.
    let sql = "SELECT CAST(COUNT(*) AS SIGNED) AS count FROM changed";
    let read = async move |conn: &mut Conn| -> db::Result<Count> {
        conn.batch_execute("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED").await?;
        Ok(sql_query(sql).get_result(conn).await?)
    };
    db.read(read).await.unwrap().count
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_writing_an_event_and_committing_it_nothing_is_told_of_a_change_that_is_not_there()
 {
    let ((db, url), (_redis, bus)) = (schema_at().await, bus(&["nobody"]).await);
    let create = async |conn: &mut Conn| -> db::Result<()> {
        Ok(conn.batch_execute("CREATE TABLE changed (version BIGINT PRIMARY KEY)").await?)
    };
    db.read(create).await.unwrap();
    let _relay = relay(&db, bus.clone(), &Bell::default());
    append(&db, vec![event(ORDER, 1)]).await;
    let mut process = start(&url).await;
    assert_eq!(uncommitted(&db).await, 1, "the process has written its change");
    // Its row has the smaller id, and must not hold up those that come after it.
    append(&db, vec![event(ORDER, 2)]).await;
    published(&db).await;
    assert_eq!(uncommitted(&db).await, 1, "its transaction is still open");
    process.kill().await.unwrap();
    until(async || uncommitted(&db).await == 0).await;
    append(&db, vec![event(ORDER, 3)]).await;
    published(&db).await;
    assert_eq!(on_the_bus(&*bus).await, BTreeMap::from([(ORDER, vec![1, 2, 3])]));
    let rows = "SELECT CAST(COUNT(*) AS SIGNED) AS count FROM outbox";
    assert_eq!((count(&db, rows).await, uncommitted(&db).await), (3, 0));
}
