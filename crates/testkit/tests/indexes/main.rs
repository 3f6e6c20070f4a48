//! Every statement of the services is listed, and has an index to go by at a million orders.
//!
//! `queries/` lists them, one example each. The suites write down what the services send, where they are asked to
//! ([`testkit::digests`]); what is not among the examples fails. Each is explained on a MariaDB that `bulk/<schema>.sql` filled: a
//! plan that [`plan::Step::faults`] finds fault with fails, unless a line `-- allowed: REASON` stands above the statement;
//! and such a line fails where the plan has no fault.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
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
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;
use testkit::digests::digests;

/// Names the folder of what the suites wrote down.
const SEEN: &str = "TEST_INDEXES";
/// How statements begin that have no plan.
const ASIDE: [&str; 14] = [
    "alter ",
    "begin",
    "commit",
    "create ",
    "do ",
    "drop ",
    "kill ",
    "release ",
    "rollback",
    "savepoint ",
    "set ",
    "show ",
    "start ",
    "unlock ",
];
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

#[test]
#[ignore = "knows what the suites saw, which they write down for it"]
fn every_query_of_the_suites_is_listed() {
    let folder = std::env::var_os(SEEN);
    let folder =
        folder.unwrap_or_else(|| panic!("{SEEN} must name the folder that TEST_DIGESTS named"));
    let mut seen = BTreeMap::new();
    for file in fs::read_dir(folder).expect("what the suites wrote down") {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines() {
            let [schema, digest, origin] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not a digest: {line}");
            };
            if !is_aside(digest) {
                seen.insert((schema.to_owned(), digest.to_owned()), origin.to_owned());
            }
        }
    }
    assert!(!seen.is_empty(), "the suites wrote nothing down");
    let of = |schema: Schema| {
        let queries = list::queries(schema);
        let digests = queries.iter().flat_map(|query| digests(&query.sql)).collect::<Vec<_>>();
        digests.into_iter().map(move |digest| (schema.name().to_owned(), digest))
    };
    let listed: BTreeSet<_> = Schema::ALL.into_iter().flat_map(of).collect();
    let sent: BTreeSet<_> = seen.keys().map(|(_, digest)| digest).collect();
    let unsent: BTreeSet<_> =
        listed.iter().map(|it| &it.1).filter(|it| !sent.contains(it)).collect();
    for digest in unsent {
        println!("no suite sent it: {digest}");
    }
    let mut report = String::new();
    for ((schema, digest), origin) in seen.iter().filter(|(it, _)| !listed.contains(it)) {
        writeln!(report, "{schema}: put an example of it into queries/: {digest}\n    | {origin}")
            .unwrap();
    }
    assert!(report.is_empty(), "\n{report}");
}

/// What has no plan: the frame of transactions, how tables are made, what the server is asked of itself, and rows that
/// are put in as they are, or by their keys.
fn is_aside(digest: &str) -> bool {
    let puts_in = digest.starts_with("insert ") && !digest.contains(" select ");
    let of_itself = ["@@", "connection_id", "table_schema = database"];
    puts_in
        || ASIDE.iter().any(|aside| digest.starts_with(aside))
        || of_itself.iter().any(|it| digest.contains(it))
}

async fn fill(conn: &mut Conn, bulk: String) {
    conn.set_statement_timeout(Duration::from_mins(30));
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
