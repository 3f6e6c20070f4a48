//! The statements that the services write with Diesel, and those of the outbox's relay and its housekeeping, have an
//! index to go by, at a million orders.
//!
//! `queries/<schema>.sql` lists them, one example each. Each is explained on a MariaDB that `bulk/<schema>.sql` filled: a
//! plan that [`plan::Step::faults`] finds fault with fails, unless a line `-- allowed: REASON` stands above the statement;
//! and such a line fails where the plan has no fault.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod list;
mod plan;

use db::Conn;
use diesel::{
    QueryableByName, sql_query,
    sql_types::{BigInt, Text},
};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use embedded::{MySql, MySqlOptions};
use list::Query;
use migrations::Schema;
use plan::{FULL, SMALL, Step};
use std::fmt::Write as _;

/// Room for what the filled tables are read by.
const BUFFER_POOL_MIB: u32 = 1024;
/// Diesel's own table.
const MIGRATIONS: &str = "__diesel_schema_migrations";
/// Rows come in by the million.
const REDO_LOG_MIB: u32 = 1024;

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Rows {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills tables by the million"]
async fn every_query_has_an_index_at_a_million_orders() {
    let mut options = MySqlOptions::temporary();
    options.durable = false;
    options.buffer_pool_mib = BUFFER_POOL_MIB;
    options.redo_log_mib = Some(REDO_LOG_MIB);
    let server = MySql::start(options).await.expect("a private MariaDB starts");
    let all = Schema::ALL.map(|schema| tokio::spawn(faults_of(schema, server.clone())));
    let mut report = String::new();
    for faults in all {
        report.push_str(&faults.await.unwrap());
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Fills the schema, explains its queries, and tells what is wrong; nothing if all is well.
async fn faults_of(schema: Schema, server: MySql) -> String {
    let mut root = Conn::establish(&server.url()).await.unwrap();
    root.batch_execute(&format!("CREATE DATABASE `{}`", schema.name())).await.unwrap();
    let url = server.url_for("root", "", schema.name());
    migrations::run(schema, &url).await.expect("the schema migrates");
    let mut conn = Conn::establish(&url).await.unwrap();
    fill(&mut conn, list::bulk(schema)).await;
    let mut report = String::new();
    for Query { sql, allowed } in list::queries(schema) {
        let steps = sql_query(format!("EXPLAIN {sql}")).load::<Step>(&mut conn).await;
        let steps = match steps {
            Ok(steps) => steps,
            Err(error) => {
                writeln!(report, "{}: {error}\n    {sql}\n", schema.name()).unwrap();
                continue;
            }
        };
        let faults: Vec<String> = steps.iter().flat_map(|step| step.faults(&sql)).collect();
        let what_to_do = match (faults.is_empty(), allowed) {
            (true, None) | (false, Some(_)) => continue,
            (false, None) => "give it an index, or say above it why not: `-- allowed: REASON`",
            (true, Some(_)) => "its plan is without fault: take the `-- allowed:` away",
        };
        writeln!(report, "{}: {what_to_do}\n    {sql}", schema.name()).unwrap();
        for fault in faults {
            writeln!(report, "    - {fault}").unwrap();
        }
        for step in steps {
            writeln!(report, "    | {step}").unwrap();
        }
        report.push('\n');
    }
    report
}

async fn fill(conn: &mut Conn, bulk: String) {
    conn.batch_execute("SET SESSION unique_checks = 0").await.unwrap();
    conn.batch_execute(&bulk).await.expect("rows by the million");
    let tables =
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()";
    for Table { name } in sql_query(tables).load(conn).await.unwrap() {
        // Else plans go by what the server guesses.
        conn.batch_execute(&format!("ANALYZE TABLE `{name}`")).await.unwrap();
        let rows =
            format!("SELECT COUNT(*) AS `rows` FROM (SELECT 1 FROM `{name}` LIMIT {FULL}) AS some");
        let Rows { rows } = sql_query(rows).get_result(conn).await.unwrap();
        let small = SMALL.contains(&name.as_str()) || name == MIGRATIONS;
        assert!(
            small || rows == FULL,
            "{name} has {rows} rows: fill it in bulk/, or name it in SMALL"
        );
    }
}
