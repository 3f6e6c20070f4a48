//! The SQL of the log and of how far it has come.

use crate::domain::{Entry, Source};
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes16, Conn, Error, Result, Script};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use events::{Positions, Shard};
use std::collections::BTreeSet;
use std::fmt::Write as _;

diesel::table! {
    activity_log (occurred_at, event_id) {
        occurred_at -> Datetime,
        event_id -> Binary,
        source -> VarChar,
        event_type -> VarChar,
        kind -> VarChar,
        version -> BigInt,
        user_id -> Nullable<BigInt>,
        order_id -> Nullable<BigInt>,
        amount -> Nullable<BigInt>,
        balance_after -> Nullable<BigInt>,
        total -> Nullable<BigInt>,
        paid -> Nullable<BigInt>,
        trace_id -> VarChar,
        payload -> Blob,
    }
}

diesel::table! {
    consumer_position (source, shard) {
        source -> VarChar,
        shard -> TinyInt,
        position -> BigInt,
        complete_from -> Datetime,
    }
}

/// Bytes of one message to the server, about: it accepts 16 MiB at least.
const MESSAGE: usize = 2 * 1_024 * 1_024;
/// What a row takes beside its payload.
const ROW: usize = 400;
/// Keys that are looked up at once.
const LOOK: usize = 200;

#[derive(Insertable)]
#[diesel(table_name = activity_log)]
struct Row<'a> {
    occurred_at: NaiveDateTime,
    event_id: Bytes16,
    source: &'a str,
    event_type: &'a str,
    kind: &'a str,
    version: i64,
    user_id: Option<i64>,
    order_id: Option<i64>,
    amount: Option<i64>,
    balance_after: Option<i64>,
    total: Option<i64>,
    paid: Option<i64>,
    trace_id: &'a str,
    payload: &'a [u8],
}

#[derive(Insertable)]
#[diesel(table_name = consumer_position)]
struct PositionRow {
    source: &'static str,
    shard: i8,
    position: i64,
    complete_from: NaiveDateTime,
}

/// One shard's step forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) shard: Shard,
    pub(crate) after: i64,
    pub(crate) through: i64,
    /// Events of before this instant are missing, which is told once, where the log begins in the middle.
    pub(crate) complete_from: Option<DateTime<Utc>>,
}

/// The stored positions; `None` where the log has not begun.
pub(crate) async fn positions(conn: &mut Conn, source: Source) -> Result<Option<Positions>> {
    let rows: Vec<(i8, i64)> = consumer_position::table
        .filter(consumer_position::source.eq(source.name()))
        .select((consumer_position::shard, consumer_position::position))
        .load(conn)
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut positions = Positions::default();
    for (shard, position) in rows {
        let known = u8::try_from(shard).ok().and_then(Shard::new);
        let known = known.ok_or_else(|| Error::Corrupt(format!("consumer_position: {shard}")))?;
        positions[known] = position;
    }
    Ok(Some(positions))
}

/// Begins the log of a source: plain, so that only one replica does.
pub(crate) fn begin(writes: &mut Script, source: Source) -> Result<()> {
    let row = |shard: Shard| PositionRow {
        source: source.name(),
        shard: column(shard),
        position: 0,
        complete_from: db::to_db(DateTime::UNIX_EPOCH),
    };
    writes.insert(consumer_position::table, Shard::all().map(row).collect())
}

/// Sends a source back to where the outbox begins.
pub(crate) async fn rewind(conn: &mut Conn, source: Source) -> Result<()> {
    let of_source = consumer_position::table.filter(consumer_position::source.eq(source.name()));
    diesel::update(of_source).set(consumer_position::position.eq(0)).execute(conn).await?;
    Ok(())
}

/// Moves the positions from where the steps begin to where they end.
///
/// # Errors
/// A short count where a position is not where its step begins.
pub(crate) async fn advance(conn: &mut Conn, source: Source, steps: &[Step]) -> Result<()> {
    let (mut cases, mut froms) = (String::new(), Vec::with_capacity(steps.len()));
    for Step { shard, after, through, .. } in steps {
        let _ = write!(cases, " WHEN {shard} THEN {through}");
        froms.push(format!("({shard},{after})"));
    }
    let sql = format!(
        "UPDATE consumer_position SET position = CASE shard{cases} END \
        WHERE source = '{}' AND (shard, position) IN ({})",
        source.name(),
        froms.join(",")
    );
    let found = diesel::sql_query(sql).execute(conn).await?;
    Error::expect_count(steps.len(), found)?;
    for Step { shard, complete_from, .. } in steps {
        let Some(from) = complete_from else { continue };
        let row = consumer_position::table.find((source.name(), column(*shard)));
        let set = consumer_position::complete_from.eq(db::to_db(*from));
        diesel::update(row).set(set).execute(conn).await?;
    }
    Ok(())
}

/// Which of these are in the log.
pub(crate) async fn known(conn: &mut Conn, entries: &[Entry]) -> Result<BTreeSet<[u8; 16]>> {
    let mut known = BTreeSet::new();
    for chunk in entries.chunks(LOOK) {
        let keys: Vec<String> = chunk.iter().map(key).collect();
        let sql = format!(
            "SELECT event_id FROM activity_log WHERE (occurred_at, event_id) IN ({})",
            keys.join(",")
        );
        let rows: Vec<Known> = diesel::sql_query(sql).load(conn).await?;
        known.extend(rows.into_iter().map(|row| row.event_id.0));
    }
    Ok(known)
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = diesel::sql_types::Binary)]
    event_id: Bytes16,
}

fn key(entry: &Entry) -> String {
    let at = db::to_db(entry.occurred_at).format("%Y-%m-%d %H:%M:%S%.6f");
    let id = entry.event_id.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    format!("('{at}',X'{id}')")
}

/// Appends rows, a few thousand a message. The last message is left to the caller, to commit with it.
pub(crate) async fn append(conn: &mut Conn, mut entries: &[Entry]) -> Result<Script> {
    let mut last = Script::default();
    while !entries.is_empty() {
        let mut bytes = 0;
        let fit = entries.iter().take_while(|entry| {
            bytes += ROW + 2 * entry.payload.len();
            bytes <= MESSAGE
        });
        let count = fit.count().max(1);
        let (now, later) = entries.split_at_checked(count).unwrap_or((entries, &[]));
        std::mem::take(&mut last).run(conn).await?;
        last.insert(activity_log::table, now.iter().map(Row::from).collect())?;
        entries = later;
    }
    Ok(last)
}

impl<'a> From<&'a Entry> for Row<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            occurred_at: db::to_db(entry.occurred_at),
            event_id: Bytes16(entry.event_id),
            source: entry.source.name(),
            event_type: &entry.event_type,
            kind: entry.kind.name(),
            version: entry.version,
            user_id: entry.user_id,
            order_id: entry.order_id,
            amount: entry.amount,
            balance_after: entry.balance_after,
            total: entry.total,
            paid: entry.paid,
            trace_id: &entry.trace_id,
            payload: &entry.payload,
        }
    }
}

fn column(shard: Shard) -> i8 {
    i8::try_from(shard.number()).unwrap_or_default()
}
