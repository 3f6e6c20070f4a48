//! A shop in which nothing has happened yet.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use audit::{INVARIANTS, Redis, Targets};
use db::Conn;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use migrations::Schema;
use std::collections::BTreeSet;

/// Reading is all that an auditor may do, and copying to tables of its own.
const AUDITOR: (&str, &str) = ("auditor", "SELECT, CREATE TEMPORARY TABLES");

/// An empty shop, as seen by a user with these rights.
async fn targets((user, rights): (&str, &str)) -> Targets {
    let server = testkit::mysql().await;
    let (admin, wallet) = testkit::database(Schema::Wallet).await;
    let grant = format!(
        "CREATE USER IF NOT EXISTS {user} IDENTIFIED BY 'reads'; GRANT {rights} ON *.* TO {user}"
    );
    admin
        .read(async |conn: &mut Conn| conn.batch_execute(&grant).await.map_err(db::Error::from))
        .await
        .unwrap();
    let as_auditor = |url: &str| server.url_for(user, "reads", database_of(url));
    let mut urls = vec![as_auditor(&wallet)];
    for schema in
        [Schema::Product, Schema::Coupon, Schema::Order, Schema::Orchestrator, Schema::Activity]
    {
        let (_, url) = testkit::database(schema).await;
        urls.push(as_auditor(&url));
    }
    let [wallet, product, coupon, order, orchestrator, activity] = urls.try_into().unwrap();
    let redis = Redis { url: testkit::redis_url().await, prefix: "empty".to_owned() };
    Targets {
        wallet,
        product,
        coupon,
        order,
        orchestrator,
        activity: Some(activity),
        streams: Some(redis.streams().unwrap()),
        ranking: Some(redis),
        relayed_within: None,
    }
}

fn database_of(url: &str) -> &str {
    url.split('?').next().unwrap().rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_shop_is_clean_to_an_auditor_who_may_only_read_and_copy() {
    let report = audit::run(&targets(AUDITOR).await).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.checks.len(), INVARIANTS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_who_may_only_read_is_told_which_right_is_missing() {
    let error = audit::run(&targets(("reader", "SELECT")).await).await.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("GRANT CREATE TEMPORARY TABLES"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_watermark_and_a_missing_shard_are_told_by_name() {
    let targets = targets(AUDITOR).await;
    let wallet = testkit::mysql().await.url_of(database_of(&targets.wallet));
    let db = db::Db::open(db::Options::new(wallet)).await.unwrap();
    let sql = "DELETE FROM saga_watermark; DELETE FROM outbox_shard WHERE shard = 7";
    db.read(async |conn: &mut Conn| conn.batch_execute(sql).await.map_err(db::Error::from))
        .await
        .unwrap();
    let report = audit::run(&targets).await.unwrap();
    let broken: Vec<_> =
        report.broken().map(|check| (check.name, check.offences.join(","))).collect();
    let expected = [
        ("wallet-relay", "shard 7".to_owned()),
        ("journal-watermarks", "watermark of wallet".to_owned()),
    ];
    assert_eq!(broken, expected, "{report}");
}

#[derive(QueryableByName)]
struct Sent {
    #[diesel(sql_type = Text)]
    statement: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_audit_sends_every_engine_takes() {
    let mut root = Conn::establish(&testkit::mysql().await.url()).await.unwrap();
    let logged = "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = 1";
    root.batch_execute(logged).await.unwrap();
    let user = ("logged", "SELECT, CREATE TEMPORARY TABLES");
    assert!(audit::run(&targets(user).await).await.unwrap().is_clean());
    root.batch_execute("SET GLOBAL general_log = 0").await.unwrap();
    let sent = "SELECT UPPER(CAST(argument AS CHAR)) AS statement FROM mysql.general_log \
        WHERE user_host LIKE '%logged%' AND command_type IN ('Query', 'Prepare', 'Execute')";
    let sent: Vec<Sent> = sql_query(sent).load(&mut root).await.unwrap();
    let begins = |it: &&Sent| it.statement.starts_with("START TRANSACTION");
    assert!(sent.iter().filter(begins).count() >= 5, "each schema in a snapshot of its own");
    for Sent { statement } in &sent {
        if statement.starts_with("START TRANSACTION") {
            assert_eq!(statement, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
        }
        // Of these TiDB refuses some and ignores others.
        for alien in ["READ ONLY", "SKIP LOCKED", "LOCK IN SHARE MODE", "FOR UPDATE"] {
            assert!(!statement.contains(alien), "{statement}");
        }
    }
}

#[test]
fn names_are_stable_words_and_each_is_its_own() {
    let names: BTreeSet<_> = INVARIANTS.iter().map(|invariant| invariant.name).collect();
    assert_eq!(names.len(), INVARIANTS.len());
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    assert!(names.iter().all(|name| name.chars().all(plain)), "{names:?}");
}
