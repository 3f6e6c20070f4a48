//! What EXPLAIN says, and what is wrong with it.

use diesel::QueryableByName;
use diesel::sql_types::{Nullable, Text};
use std::fmt;

/// Tables that have a handful of rows however large the shop, and may be read whole: one row, a row a shard, a kind of id, or a
/// replica.
pub(crate) const SMALL: [&str; 8] = [
    "clock_mark",
    "consumer_position",
    "heartbeat",
    "id_block",
    "outbox_shard",
    "recovery",
    "replica_clock",
    "saga_watermark",
];
/// All others have at least so many rows here, so that a plan that reads fewer reads a small one: EXPLAIN tells only aliases.
pub(crate) const FULL: i64 = 1_000;
/// From so many rows on a table is not small: what the server counts is rough.
const NOT_SMALL: u64 = 300;
/// More rows than this are not looked at to answer a call or to do one turn of a job.
const MANY: u64 = 10_000;

/// A line of EXPLAIN: how one table is read.
#[derive(Debug, QueryableByName)]
pub(crate) struct Step {
    #[diesel(sql_type = Nullable<Text>)]
    select_type: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    table: Option<String>,
    #[diesel(sql_type = Nullable<Text>, column_name = "type")]
    access: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    rows: Option<String>,
    #[diesel(sql_type = Nullable<Text>, column_name = "Extra")]
    extra: Option<String>,
}

impl Step {
    /// What is wrong with it: it reads a table or an index to the end, or many rows that no LIMIT
    /// ends, or sorts, or makes a temporary table.
    pub(crate) fn faults(&self, sql: &str) -> Vec<String> {
        // Rows in the order of an index end at the limit, and EXPLAIN does not say so.
        let ends = sql.to_lowercase().contains(" limit ");
        let (Some(table), Some(access)) = (&self.table, &self.access) else {
            return self.extra_faults("the result");
        };
        // What is inserted is not read; what was put together on the way was judged where it came from.
        let bounded = self.select_type.as_deref() == Some("INSERT") || table.starts_with('<');
        let mut faults = self.extra_faults(table);
        let rows: u64 =
            self.rows.as_deref().map_or(0, |rows| rows.parse().expect("a number of rows"));
        match access.as_str() {
            _ if bounded => {}
            "ALL" if rows >= NOT_SMALL => faults.push(format!("reads all of {table}")),
            "index" if rows > MANY => faults.push(format!("reads a whole index of {table}")),
            _ if rows > MANY && !ends => faults.push(format!("reads {rows} rows of {table}")),
            _ => {}
        }
        faults
    }

    fn extra_faults(&self, table: &str) -> Vec<String> {
        let extra = self.extra.as_deref().unwrap_or_default();
        let named =
            [("Using filesort", "sorts"), ("Using temporary", "makes a temporary table of")];
        let found = named.into_iter().filter(|(name, _)| extra.contains(name));
        found.map(|(_, deed)| format!("{deed} {table}")).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { select_type, table, access, key, rows, extra } = self;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (kind, table, access) = (text(select_type), text(table), text(access));
        let (key, rows, extra) = (text(key), text(rows), text(extra));
        write!(f, "{kind} {table}: {access} by {key}, {rows} rows, {extra}")
    }
}
