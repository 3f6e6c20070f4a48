//! Events that share a row of the outbox, as rows of their own: SQL cannot take a message apart, so they are copied into a
//! temporary table, which only this session sees and which goes with it.

use crate::snapshot::Snapshot;
use anyhow::{Context, Result};
use api::events::v1::EventEnvelope;
use chrono::NaiveDateTime;
use db::{Bytes16, Script};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Datetime, Nullable};
pub(crate) use events::message::BATCH;
use events::message::type_of;
use uuid::Uuid;

/// Makes the table, before there is a transaction that may only read.
pub(crate) const CREATE: &str = "CREATE TEMPORARY TABLE audit_event ( \
    row_id BIGINT NOT NULL, \
    place BIGINT NOT NULL, \
    position BIGINT NULL, \
    event_id BINARY(16) NOT NULL, \
    event_type VARCHAR(64) NOT NULL, \
    aggregate_kind VARCHAR(32) NOT NULL, \
    aggregate_id BIGINT NOT NULL, \
    version BIGINT NOT NULL, \
    occurred_at DATETIME(6) NOT NULL, \
    payload BLOB NOT NULL, \
    PRIMARY KEY (row_id, place)) \
    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Rows that are taken apart at once.
const PAGE: usize = 200;

diesel::table! {
    audit_event (row_id, place) {
        row_id -> BigInt,
        place -> BigInt,
        position -> Nullable<BigInt>,
        event_id -> Binary,
        event_type -> VarChar,
        aggregate_kind -> VarChar,
        aggregate_id -> BigInt,
        version -> BigInt,
        occurred_at -> Datetime,
        payload -> Blob,
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    position: Option<i64>,
    #[diesel(sql_type = Datetime)]
    occurred_at: NaiveDateTime,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

#[derive(Insertable)]
#[diesel(table_name = audit_event)]
struct EventRow {
    row_id: i64,
    place: i64,
    position: Option<i64>,
    event_id: Bytes16,
    event_type: String,
    aggregate_kind: String,
    aggregate_id: i64,
    version: i64,
    occurred_at: NaiveDateTime,
    payload: Vec<u8>,
}

/// Fills the table from the outbox as the snapshot has it. What cannot be taken apart, and what no row of its own could
/// hold, yields nothing: the changes that it should tell of are then found without events.
pub(crate) async fn unpack(snapshot: &mut Snapshot) -> Result<()> {
    let mut after = 0;
    loop {
        let sql = format!(
            "SELECT id, position, occurred_at, payload FROM outbox \
            WHERE id > {after} AND event_type = '{BATCH}' ORDER BY id LIMIT {PAGE}"
        );
        let rows: Vec<Row> = snapshot.all(sql).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        let mut writes = Script::default();
        writes.insert(audit_event::table, rows.iter().flat_map(copies).collect())?;
        snapshot.write(writes).await.context("copying events into a temporary table")?;
    }
}

/// The events of a row that holds several; none where it cannot be read.
pub(crate) fn inner(payload: &[u8]) -> Vec<EventEnvelope> {
    events::message::inner(payload).unwrap_or_default()
}

fn copies(row: &Row) -> impl Iterator<Item = EventRow> {
    let Row { id: row_id, position, occurred_at, .. } = *row;
    (0..).zip(inner(&row.payload)).filter_map(move |(place, event)| {
        let event_type = type_of(&event).to_owned();
        let fits = event_type.len() <= 64 && event.aggregate_kind.len() <= 32;
        let event_id = Uuid::try_parse(&event.event_id).ok().filter(|_| fits)?;
        Some(EventRow {
            row_id,
            place,
            position,
            event_id: event_id.into(),
            event_type,
            aggregate_kind: event.aggregate_kind,
            aggregate_id: event.aggregate_id,
            version: event.version,
            occurred_at,
            payload: event.payload?.value,
        })
    })
}
