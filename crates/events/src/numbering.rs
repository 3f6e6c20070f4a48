//! The relay's SQL: who owns which shard, which number each row gets, what is still to be published.
//!
//! Rows are numbered under their shard's lock, and only what has been committed: so a transaction that commits late, with
//! smaller row ids than others, merely gets later numbers. A number once committed stays, and is given once.
//!
//! The lock only keeps relays from working in vain. What makes a number unique are two conditional updates, each counted:
//! a row gets a number only while it has none, and a shard's last number moves only from where it was read. So an engine
//! whose lock locks nothing makes relays fail and try again, and never makes them give a number twice.

use crate::bus::Message;
use crate::schema::{outbox, outbox_shard};
use crate::{PerShard, Shard, message, rewound};
use api::events::v1::EventEnvelope;
use chrono::NaiveDateTime;
use db::{Bytes16, Conn, Error, Result, Script};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Blob, Bool, Datetime, TinyInt, VarChar};
use diesel_async::RunQueryDsl;
use prost::Message as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use uuid::Uuid;

/// Where a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ledger {
    /// The highest number given to a row.
    pub(crate) last: i64,
    /// The bus holds the rows up to this number, as far as the schema knows.
    pub(crate) published: i64,
    /// Whether there are committed rows without a number.
    pub(crate) waiting: bool,
}

/// Where a shard stands that is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owned {
    /// Its last number when it was locked.
    pub(crate) was: i64,
    /// The highest number given to a row.
    pub(crate) last: i64,
    /// The bus holds the rows up to this number.
    pub(crate) published: i64,
}

#[derive(QueryableByName)]
struct LedgerRow {
    #[diesel(sql_type = TinyInt)]
    shard: i8,
    #[diesel(sql_type = BigInt)]
    last_position: i64,
    #[diesel(sql_type = BigInt)]
    published_position: i64,
    #[diesel(sql_type = Bool)]
    waiting: bool,
}

/// A committed row without a number.
#[derive(Debug)]
pub(crate) struct Unnumbered {
    pub(crate) id: i64,
    pub(crate) envelope: Vec<u8>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = TinyInt)]
    shard: i8,
    /// Its id, or its number.
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = Binary)]
    event_id: Bytes16,
    #[diesel(sql_type = VarChar)]
    event_type: String,
    #[diesel(sql_type = VarChar)]
    aggregate_kind: String,
    #[diesel(sql_type = BigInt)]
    aggregate_id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Datetime)]
    occurred_at: NaiveDateTime,
    #[diesel(sql_type = VarChar)]
    trace_id: String,
    #[diesel(sql_type = VarChar)]
    traceparent: String,
    #[diesel(sql_type = Blob)]
    payload: Vec<u8>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Where all shards stand, without a lock.
pub(crate) async fn survey(conn: &mut Conn) -> Result<PerShard<Ledger>> {
    const SQL: &str = "SELECT s.shard, s.last_position, s.published_position, \
        EXISTS(SELECT 1 FROM outbox o WHERE o.shard = s.shard AND o.position IS NULL) AS waiting \
        FROM outbox_shard s";
    let rows: Vec<LedgerRow> = diesel::sql_query(SQL).load(conn).await?;
    let mut ledgers = PerShard::default();
    for row in rows {
        ledgers[Shard::from_column(row.shard)?] = Ledger {
            last: row.last_position,
            published: row.published_position,
            waiting: row.waiting,
        };
    }
    Ok(ledgers)
}

/// Rows of the outbox that are not on the bus yet.
///
/// # Errors
/// Those of the database.
pub async fn pending(conn: &mut Conn) -> Result<i64> {
    // Counted shard by shard: the index begins with the shard.
    const SQL: &str = "SELECT CAST(COALESCE(SUM(s.last_position - s.published_position + \
        (SELECT COUNT(*) FROM outbox o WHERE o.shard = s.shard AND o.position IS NULL)), 0) \
        AS SIGNED) AS count FROM outbox_shard s";
    let row: Count = diesel::sql_query(SQL).get_result(conn).await?;
    Ok(row.count)
}

/// Locks those of the shards that nobody else holds, without waiting: where each stands.
///
/// # Errors
/// Those of the database. Locks that others hold are none.
pub(crate) async fn lock(conn: &mut Conn, shards: &[Shard]) -> Result<BTreeMap<Shard, Owned>> {
    // Mostly nobody holds any. One statement, then, in the place of one a shard.
    match lock_at_once(conn, shards).await {
        Err(error) if error.is_lock_timeout() => {}
        other => return other,
    }
    let mut owned = BTreeMap::new();
    for shard in shards {
        // A lock that is not had fails the statement alone: the transaction keeps the others.
        match lock_at_once(conn, &[*shard]).await {
            Ok(one) => owned.extend(one),
            Err(error) if error.is_lock_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(owned)
}

async fn lock_at_once(conn: &mut Conn, shards: &[Shard]) -> Result<BTreeMap<Shard, Owned>> {
    let columns: Vec<i8> = shards.iter().map(|shard| shard.column()).collect();
    let rows: Vec<(i8, i64, i64)> = outbox_shard::table
        .filter(outbox_shard::shard.eq_any(columns))
        .select((
            outbox_shard::shard,
            outbox_shard::last_position,
            outbox_shard::published_position,
        ))
        .for_update()
        .no_wait()
        .load(conn)
        .await?;
    rows.into_iter()
        .map(|(shard, last, published)| {
            Ok((Shard::from_column(shard)?, Owned { was: last, last, published }))
        })
        .collect()
}

/// What a row tells, and whose it is.
const CONTENT: &str = "event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at, \
    trace_id, traceparent, payload";

/// Committed rows without a number, ascending by id, up to `max` a shard.
pub(crate) async fn unnumbered(
    conn: &mut Conn,
    shards: &[Shard],
    max: usize,
) -> Result<BTreeMap<Shard, Vec<Unnumbered>>> {
    let mut found: BTreeMap<Shard, Vec<Unnumbered>> = BTreeMap::new();
    if shards.is_empty() {
        return Ok(found);
    }
    let sql = union(shards.iter().map(|shard| {
        format!(
            "SELECT shard, id AS `key`, {CONTENT} FROM outbox \
            WHERE shard = {shard} AND position IS NULL ORDER BY id LIMIT {max}"
        )
    }));
    let rows: Vec<Row> = diesel::sql_query(sql).load(conn).await?;
    for row in rows {
        let (shard, id) = (Shard::from_column(row.shard)?, row.key);
        let row = Unnumbered { id, envelope: row.into_envelope() };
        found.entry(shard).or_default().push(row);
    }
    for rows in found.values_mut() {
        rows.sort_unstable_by_key(|row| row.id);
    }
    Ok(found)
}

/// Lets the numbers of these shards go on above a floor each, after a row that says so.
///
/// # Errors
/// Those of the database.
pub(crate) async fn rewind(
    conn: &mut Conn,
    owned: &mut BTreeMap<Shard, Owned>,
    floors: &BTreeMap<Shard, i64>,
) -> Result<()> {
    let mut rows = Vec::new();
    for (shard, floor) in floors {
        let Some(ledger) = owned.get_mut(shard).filter(|ledger| ledger.last < *floor) else {
            continue;
        };
        let position = floor.saturating_add(1);
        rows.push(rewound::Row::new(*shard, ledger.last, position));
        ledger.last = position;
    }
    let mut script = Script::default();
    script.insert(outbox::table, rows)?;
    script.run(conn).await
}

/// Gives the rows the numbers that follow their shard's last one.
///
/// # Errors
/// A conflict where a row has got a number from somebody else.
pub(crate) async fn number(
    conn: &mut Conn,
    owned: &mut BTreeMap<Shard, Owned>,
    rows: &BTreeMap<Shard, Vec<Unnumbered>>,
) -> Result<()> {
    let count: usize = rows.values().map(Vec::len).sum();
    if count == 0 {
        return Ok(());
    }
    // INTERVAL(id, a, b, c) is the rank of id among sorted numbers, found by binary search.
    let (mut cases, mut all) = (String::new(), Vec::with_capacity(count));
    for (shard, rows) in rows {
        let Some(ledger) = owned.get_mut(shard) else {
            return Err(Error::Corrupt(format!("rows of shard {shard}, which is not locked")));
        };
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let _ =
            write!(cases, " WHEN {shard} THEN {} + (INTERVAL(id, {}))", ledger.last, list(&ids));
        ledger.last += i64::try_from(ids.len()).unwrap_or_default();
        all.extend(ids);
    }
    let sql = format!(
        "UPDATE outbox SET position = CASE shard{cases} END WHERE id IN ({}) AND position IS NULL",
        list(&all)
    );
    let found = diesel::sql_query(sql).execute(conn).await?;
    Error::expect_count(count, found)
}

/// Moves the shards from where they stood to where they stand.
///
/// # Errors
/// A conflict where one of them stands elsewhere: somebody else has given its next numbers.
pub(crate) async fn mark(conn: &mut Conn, owned: &BTreeMap<Shard, Owned>) -> Result<()> {
    if owned.is_empty() {
        return Ok(());
    }
    let [mut was, mut last, mut published] = [const { String::new() }; 3];
    let mut shards = Vec::with_capacity(owned.len());
    for (shard, ledger) in owned {
        let _ = write!(was, " WHEN {shard} THEN {}", ledger.was);
        let _ = write!(last, " WHEN {shard} THEN {}", ledger.last);
        let _ = write!(published, " WHEN {shard} THEN {}", ledger.published);
        shards.push(i64::from(shard.number()));
    }
    let sql = format!(
        "UPDATE outbox_shard SET last_position = CASE shard{last} END, \
        published_position = CASE shard{published} END \
        WHERE shard IN ({}) AND last_position = CASE shard{was} END",
        list(&shards)
    );
    let found = diesel::sql_query(sql).execute(conn).await?;
    Error::expect_count(owned.len(), found)
}

/// Rows with a number above a position, up to `max` of each shard: (shard, above, max).
pub(crate) async fn numbered(
    conn: &mut Conn,
    wanted: &[(Shard, i64, i64)],
) -> Result<BTreeMap<Shard, Vec<Message>>> {
    let mut found: BTreeMap<Shard, Vec<Message>> = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    let sql = union(wanted.iter().map(|(shard, above, max)| {
        format!(
            "SELECT shard, position AS `key`, {CONTENT} FROM outbox \
            WHERE shard = {shard} AND position > {above} ORDER BY position LIMIT {max}"
        )
    }));
    let rows: Vec<Row> = diesel::sql_query(sql).load(conn).await?;
    for row in rows {
        let shard = Shard::from_column(row.shard)?;
        let message = Message { position: row.key, envelope: row.into_envelope() };
        found.entry(shard).or_default().push(message);
    }
    for messages in found.values_mut() {
        messages.sort_unstable_by_key(|message| message.position);
    }
    Ok(found)
}

impl Row {
    fn into_envelope(self) -> Vec<u8> {
        let envelope = EventEnvelope {
            event_id: Uuid::from_bytes(self.event_id.0).to_string(),
            aggregate_kind: self.aggregate_kind,
            aggregate_id: self.aggregate_id,
            version: self.version,
            occurred_at: Some(message::timestamp(db::from_db(self.occurred_at))),
            traceparent: self.traceparent,
            trace_id: self.trace_id,
            payload: Some(message::payload(&self.event_type, self.payload)),
        };
        envelope.encode_to_vec()
    }
}

/// One statement for all shards, each part in the order of its index.
fn union(parts: impl Iterator<Item = String>) -> String {
    parts.map(|part| format!("({part})")).collect::<Vec<_>>().join(" UNION ALL ")
}

fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}
