//! Measures beside a replay: what the database can do at most, what an order costs it, how much memory it took.

use crate::config::with_schema;
use anyhow::{Context, Result};
use db::Conn;
use diesel::sql_types::BigInt;
use diesel::{ExpressionMethods, QueryableByName, insert_into, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections that commit at once; the best counts.
const CONNECTIONS: [u32; 4] = [1, 16, 64, 128];
/// The database that is made for the measure and dropped after it.
const DATABASE: &str = "commerce_bench";

diesel::table! {
    /// Rows that are committed one by one.
    commits (id) {
        /// Never the same twice.
        id -> BigInt,
    }
}

/// What was measured beside a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Transactions that wrote, an order, of the whole database server, until the events were published.
    pub commits_per_order: Option<f64>,
    /// Single-row commits a second of the same server, in the same run.
    pub raw_commits_per_second: Option<f64>,
    /// Orders a second for each of those.
    pub orders_per_raw_commit: Option<f64>,
    /// The most memory that the shop's processes ever held together, in MiB.
    pub peak_memory_mib: Option<u64>,
}

/// Single-row commits a second at some number of connections.
#[derive(Debug, Clone, Serialize)]
pub struct RawCommits {
    /// Connections and commits a second.
    pub rates: Vec<(u32, f64)>,
    /// The best of them.
    pub best: f64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Transactions that wrote on this server since the first call, which starts the counting.
///
/// `Com_commit` misses autocommitted statements, so InnoDB is asked.
///
/// # Errors
/// Those of the database, such as missing rights.
pub async fn write_commits(server: &str) -> Result<i64> {
    let mut conn = Conn::establish(server).await?;
    conn.batch_execute("SET GLOBAL innodb_monitor_enable = 'trx_rw_commits'").await?;
    let count = "SELECT CAST(`COUNT` AS SIGNED) AS count FROM information_schema.INNODB_METRICS \
                 WHERE NAME = 'trx_rw_commits'";
    let count: Count = sql_query(count).get_result(&mut conn).await?;
    Ok(count.count)
}

/// Measures single-row commits on a database of its own, for `seconds` at each number of connections.
///
/// # Errors
/// Those of the database, such as missing rights.
pub async fn raw_commits(server: &str, each: Duration) -> Result<RawCommits> {
    let mut admin = Conn::establish(server).await.context("connecting to the database")?;
    admin
        .batch_execute(&format!(
            "DROP DATABASE IF EXISTS {DATABASE}; CREATE DATABASE {DATABASE}; \
             CREATE TABLE {DATABASE}.commits (id BIGINT NOT NULL PRIMARY KEY) ENGINE=InnoDB"
        ))
        .await
        .context("making a database to measure on")?;
    let url = with_schema(server, DATABASE);
    let mut rates = Vec::new();
    for connections in CONNECTIONS {
        rates.push((connections, at(&url, connections, each).await?));
        admin.batch_execute(&format!("TRUNCATE TABLE {DATABASE}.commits")).await?;
    }
    admin.batch_execute(&format!("DROP DATABASE {DATABASE}")).await?;
    let best = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    Ok(RawCommits { rates, best })
}

/// Commits a second at this many connections, each one row by a prepared statement that the connection keeps.
async fn at(url: &str, connections: u32, each: Duration) -> Result<f64> {
    let mut ready = Vec::new();
    for _ in 0..connections {
        ready.push(Conn::establish(url).await?);
    }
    let since = Instant::now();
    let until = since + each;
    let mut workers = JoinSet::new();
    for (worker, mut conn) in (0_i64..).zip(ready) {
        workers.spawn(async move {
            let mut done = 0_u32;
            // Far apart, so that connections do not meet on a page.
            let first = worker << 40;
            while Instant::now() < until {
                let row = commits::id.eq(first + i64::from(done));
                insert_into(commits::table).values(row).execute(&mut conn).await?;
                done += 1;
            }
            Ok::<u32, diesel::result::Error>(done)
        });
    }
    let mut all = 0_u32;
    while let Some(done) = workers.join_next().await {
        all += done??;
    }
    Ok(f64::from(all) / since.elapsed().as_secs_f64())
}

/// The most memory that this process ever held, in KiB. `None` where the system does not tell.
pub fn peak_memory_kib() -> Option<u64> {
    memory_kib("self", "VmHWM")
}

/// The most memory that another process of this program ever held beside what it shares with this one, in KiB.
pub fn own_peak_memory_kib(pid: u32) -> Option<u64> {
    let pid = pid.to_string();
    let shared = memory_kib(&pid, "RssFile")? + memory_kib(&pid, "RssShmem")?;
    Some(memory_kib(&pid, "VmHWM")?.saturating_sub(shared))
}

fn memory_kib(process: &str, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Measured {
    /// What `orders` that came at this rate cost, and how that compares.
    pub fn new(commits: i64, orders: usize, orders_per_second: f64, raw: &RawCommits) -> Self {
        let per_order =
            rate(usize::try_from(commits).unwrap_or_default(), 1.0) / rate(orders.max(1), 1.0);
        Self {
            commits_per_order: Some(per_order),
            raw_commits_per_second: Some(raw.best),
            orders_per_raw_commit: Some(orders_per_second / raw.best.max(f64::MIN_POSITIVE)),
            peak_memory_mib: None,
        }
    }
}

/// How many a second, over this many seconds.
pub(crate) fn rate(count: usize, seconds: f64) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / seconds.max(f64::MIN_POSITIVE)
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some(commits) = self.commits_per_order {
            lines.push(format!("commits an order    {commits:.3} (trx_rw_commits)"));
        }
        if let Some(raw) = self.raw_commits_per_second {
            lines.push(format!(
                "raw commits         {raw:.0} a second (best of 1 to 128 connections)"
            ));
        }
        if let Some(share) = self.orders_per_raw_commit {
            lines.push(format!("orders/raw commits  {share:.3}"));
        }
        if let Some(mib) = self.peak_memory_mib {
            lines.push(format!("peak memory         {mib} MiB"));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for RawCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (connections, rate) in &self.rates {
            writeln!(f, "{connections:>3} connections  {rate:>7.0} commits/s")?;
        }
        write!(f, "best             {:>7.0} commits/s", self.best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_known() {
        assert!(peak_memory_kib().unwrap() > 1_000);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_commit_of_ours_is_counted() {
        let url = testkit::fresh_database("bench").await;
        let before = write_commits(&url).await.unwrap();
        let mut conn = Conn::establish(&url).await.unwrap();
        conn.batch_execute("CREATE TABLE commits (id BIGINT NOT NULL PRIMARY KEY)").await.unwrap();
        for id in 0_i64..10 {
            let row = commits::id.eq(id);
            insert_into(commits::table).values(row).execute(&mut conn).await.unwrap();
        }
        let after = write_commits(&url).await.unwrap();
        assert!(after - before >= 10, "{before} {after}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn raw_commits_are_measured_at_each_number_of_connections_and_leave_nothing() {
        let server = testkit::mysql().await.url();
        let raw = raw_commits(&server, Duration::from_millis(50)).await.unwrap();
        assert_eq!(raw.rates.iter().map(|(at, _)| *at).collect::<Vec<_>>(), CONNECTIONS);
        assert!(raw.rates.iter().all(|(_, rate)| *rate > 0.0), "{raw}");
        let left = Conn::establish(&with_schema(&server, DATABASE)).await;
        assert!(left.is_err());
    }
}
