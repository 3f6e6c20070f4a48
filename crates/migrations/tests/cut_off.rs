//! Runs that are cut off, at any statement of any schema, and runs beside each other.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use db::{Conn, Error};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use migrations::Schema;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a run may take that has to wait for a silent one's lock.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Created {
    #[diesel(sql_type = Text, column_name = "Create Table")]
    statement: String,
}

#[derive(QueryableByName)]
struct Checksum {
    #[diesel(sql_type = Nullable<BigInt>, column_name = "Checksum")]
    checksum: Option<i64>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

async fn texts(conn: &mut Conn, sql: &str) -> Vec<String> {
    let rows: Vec<Name> = sql_query(sql).load(conn).await.unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

async fn number(url: &str, sql: &str) -> i64 {
    let mut conn = Conn::establish(url).await.unwrap();
    sql_query(sql).get_result::<Number>(&mut conn).await.unwrap().number
}

async fn run_sql(url: &str, sql: &str) {
    Conn::establish(url).await.unwrap().batch_execute(sql).await.unwrap();
}

async fn versions(url: &str) -> Vec<String> {
    let mut conn = Conn::establish(url).await.unwrap();
    texts(&mut conn, "SELECT version AS name FROM __diesel_schema_migrations ORDER BY version")
        .await
}

/// How many versions are recorded; none before the table is there.
async fn recorded(url: &str) -> usize {
    let exists = "SELECT COUNT(*) AS number FROM information_schema.tables \
        WHERE table_schema = DATABASE() AND table_name = '__diesel_schema_migrations'";
    if number(url, exists).await == 0 { 0 } else { versions(url).await.len() }
}

/// Every table as it was made, with a sum over its rows.
async fn tables(url: &str) -> BTreeMap<String, (String, Option<i64>)> {
    let mut conn = Conn::establish(url).await.unwrap();
    let all =
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()";
    let mut tables = BTreeMap::new();
    for table in texts(&mut conn, all).await {
        let created = sql_query(format!("SHOW CREATE TABLE `{table}`"));
        let created: Created = created.get_result(&mut conn).await.unwrap();
        let checksum = sql_query(format!("CHECKSUM TABLE `{table}`"));
        let checksum: Checksum = checksum.get_result(&mut conn).await.unwrap();
        // When a version was recorded differs.
        let sum = checksum.checksum.filter(|_| table != "__diesel_schema_migrations");
        tables.insert(table, (created.statement, sum));
    }
    tables
}

/// Migrates, and is gone before it sends statement number `limit`, counted from 0. Tells whether it came to its end.
async fn cut_off(schema: Schema, url: &str, limit: usize) -> bool {
    let mut sent = 0;
    let mut watch = |_: &str| {
        sent += 1;
        sent <= limit
    };
    match db::migrate_watched(url, &schema.migrations(), &mut watch).await {
        Ok(_) => true,
        Err(Error::Lost(_)) => false,
        Err(error) => panic!("{}: {error}", schema.name()),
    }
}

/// Runs that each send a statement more than is needed to look at what the one before left: between two of their
/// ends lies one statement.
async fn inch_by_inch(schema: Schema) -> usize {
    let whole = testkit::fresh_database(schema.name()).await;
    migrations::run(schema, &whole).await.unwrap();
    let url = testkit::fresh_database(schema.name()).await;
    let (mut runs, mut limit, mut done) = (0, 0, 0);
    while !cut_off(schema, &url, limit).await {
        runs += 1;
        let now = recorded(&url).await;
        limit = if now > done { 1 } else { limit + 1 };
        done = now;
    }
    assert_eq!(tables(&url).await, tables(&whole).await);
    assert_eq!(versions(&url).await, versions(&whole).await);
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_at_every_statement_is_finished_by_the_next() {
    let runs = join_all(Schema::ALL.map(inch_by_inch)).await;
    for (schema, runs) in Schema::ALL.into_iter().zip(runs) {
        // Before each statement, before each version that is recorded, and within each look at what is there already.
        assert!(runs > 2 * schema.migrations().len(), "{}: {runs} runs", schema.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a database for each statement of each schema"]
async fn one_cut_at_any_statement_is_finished_by_one_run() {
    for schema in Schema::ALL {
        let whole = testkit::fresh_database(schema.name()).await;
        migrations::run(schema, &whole).await.unwrap();
        let whole = tables(&whole).await;
        for limit in 0.. {
            let url = testkit::fresh_database(schema.name()).await;
            if cut_off(schema, &url, limit).await {
                break;
            }
            migrations::run(schema, &url).await.unwrap();
            assert_eq!(tables(&url).await, whole, "{} cut off before {limit}", schema.name());
        }
    }
}

#[test]
fn every_migration_can_be_run_again_and_has_a_version_of_its_own() {
    for schema in Schema::ALL {
        let migrations = schema.migrations();
        for pair in migrations.windows(2) {
            assert!(pair[0].version() < pair[1].version(), "{} {}", schema.name(), pair[1].name);
        }
        for migration in migrations {
            migration.check().unwrap();
            assert!(
                migration.version().chars().all(|it| it.is_ascii_digit()),
                "{}",
                migration.name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_that_were_there_keep_their_values_and_those_that_lack_are_added() {
    let url = testkit::fresh_database("order").await;
    migrations::run(Schema::Order, &url).await.unwrap();
    // As if the run had been cut off before it recorded anything, and a shop had worked meanwhile.
    run_sql(
        &url,
        "UPDATE saga_watermark SET watermark = REPEAT('f', 16); UPDATE outbox_shard SET last_position = 7; \
        DELETE FROM outbox_shard WHERE shard = 3; DELETE FROM __diesel_schema_migrations \
        WHERE version IN ('20261123000003', '20261123000007')",
    )
    .await;
    let applied = migrations::run(Schema::Order, &url).await.unwrap();
    assert_eq!(applied, ["20261123000003", "20261123000007"]);
    let watermarks =
        "SELECT COUNT(*) AS number FROM saga_watermark WHERE watermark = REPEAT('f', 16)";
    assert_eq!(number(&url, watermarks).await, 1);
    for (position, shards) in [(7, 15), (0, 1)] {
        let count =
            format!("SELECT COUNT(*) AS number FROM outbox_shard WHERE last_position = {position}");
        assert_eq!(number(&url, &count).await, shards);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_that_migrate_at_once_apply_each_migration_once() {
    let url = testkit::fresh_database("coupon").await;
    let runs = (0..4).map(|_| migrations::run(Schema::Coupon, &url));
    let applied: Vec<String> = join_all(runs).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(applied.len(), Schema::Coupon.migrations().len());
    assert_eq!(versions(&url).await.len(), applied.len());
    assert_eq!(migrations::pending(Schema::Coupon, &url).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_falls_silent_loses_its_lock_to_the_next() {
    let url = testkit::fresh_database("wallet").await;
    let proxy = testkit::Proxy::before(&url).await;
    let (through, migrations) = (proxy.url(), Schema::Wallet.migrations());
    let count = migrations.len();
    let silent = tokio::spawn(async move {
        let mut sent = 0;
        let mut watch = |_: &str| {
            sent += 1;
            if sent == 5 {
                // The packets of this connection go nowhere from now on, and nobody closes it.
                proxy.swallow_existing();
            }
            true
        };
        let ended = db::migrate_watched(&through, &migrations, &mut watch).await;
        drop(proxy);
        ended
    });
    while recorded(&url).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let applied = tokio::time::timeout(PATIENCE, migrations::run(Schema::Wallet, &url)).await;
    assert!(!applied.unwrap().unwrap().is_empty());
    assert_eq!(versions(&url).await.len(), count);
    silent.abort();
}
