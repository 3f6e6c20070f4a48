//! The outbox: every committed change writes its event in its own transaction.

use crate::Shard;
use crate::schema::outbox;
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes16, Result, Script};
use diesel::prelude::*;
use uuid::Uuid;

/// A change, to be told to whoever follows this schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The payload's message name, without its package: `OrderConfirmed`. At most 64 bytes.
    pub event_type: &'static str,
    /// What changed: `wallet`, `product`, `coupon`, `order`, …. At most 32 bytes.
    pub aggregate_kind: &'static str,
    /// Which one.
    pub aggregate_id: i64,
    /// The aggregate's version after the change.
    pub version: i64,
    /// When the change was made, by its service's clock.
    pub occurred_at: DateTime<Utc>,
    /// The `x-trace-id` of the call that made it; empty when there was none. At most 64 bytes.
    pub trace_id: String,
    /// The W3C `traceparent` of that call; empty when there was none. At most 64 bytes.
    pub traceparent: String,
    /// The encoded payload.
    pub payload: Vec<u8>,
}

#[derive(Insertable)]
#[diesel(table_name = outbox)]
struct NewRow<'a> {
    shard: i8,
    event_id: Bytes16,
    event_type: &'a str,
    aggregate_kind: &'a str,
    aggregate_id: i64,
    version: i64,
    occurred_at: NaiveDateTime,
    trace_id: &'a str,
    traceparent: &'a str,
    payload: &'a [u8],
}

impl<'a> From<&'a Event> for NewRow<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            shard: Shard::of(event.aggregate_kind, event.aggregate_id).column(),
            event_id: Uuid::now_v7().into(),
            event_type: event.event_type,
            aggregate_kind: event.aggregate_kind,
            aggregate_id: event.aggregate_id,
            version: event.version,
            occurred_at: db::to_db(event.occurred_at),
            trace_id: &event.trace_id,
            traceparent: &event.traceparent,
            payload: &event.payload,
        }
    }
}

/// Adds events to the writes of a transaction, which must hold the locks of the aggregates that they tell of: so an
/// aggregate's events get their row ids in the order of its changes.
///
/// # Errors
/// See [`Script::push`].
pub fn append(writes: &mut Script, events: &[Event]) -> Result<()> {
    let rows: Vec<NewRow<'_>> = events.iter().map(NewRow::from).collect();
    writes.insert(outbox::table, rows)
}
