//! The outbox: every committed change writes its event in its own transaction.

use crate::schema::outbox;
use crate::{PerShard, Shard, message};
use api::events::v1::EventEnvelope;
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes16, Result, Script};
use diesel::prelude::*;
use std::borrow::Cow;
use uuid::Uuid;

/// A change, to be told to whoever follows this schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The full name of the payload's message: `commerce.order.v1.OrderConfirmed`. At most 64 bytes.
    pub event_type: String,
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
    /// The encoded payload, at most 65,535 bytes: the database refuses more.
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
    payload: Cow<'a, [u8]>,
}

impl<'a> NewRow<'a> {
    fn new(shard: Shard, events: &[&'a Event]) -> Option<Self> {
        match events {
            [] => None,
            [event] => Some(Self::single(shard, event)),
            [.., last] => Some(Self::batch(shard, events, last.occurred_at)),
        }
    }

    fn single(shard: Shard, event: &'a Event) -> Self {
        Self {
            shard: shard.column(),
            event_id: Uuid::now_v7().into(),
            event_type: &event.event_type,
            aggregate_kind: event.aggregate_kind,
            aggregate_id: event.aggregate_id,
            version: event.version,
            occurred_at: db::to_db(event.occurred_at),
            trace_id: &event.trace_id,
            traceparent: &event.traceparent,
            payload: Cow::Borrowed(&event.payload),
        }
    }

    /// Its columns tell of no aggregate: the events in its payload do.
    fn batch(shard: Shard, events: &[&'a Event], occurred_at: DateTime<Utc>) -> Self {
        let payload = message::batch(events.iter().map(|event| envelope(event)).collect());
        Self {
            shard: shard.column(),
            event_id: Uuid::now_v7().into(),
            event_type: message::BATCH,
            aggregate_kind: "",
            aggregate_id: 0,
            version: 0,
            occurred_at: db::to_db(occurred_at),
            trace_id: "",
            traceparent: "",
            payload: Cow::Owned(payload),
        }
    }
}

fn envelope(event: &Event) -> EventEnvelope {
    EventEnvelope {
        event_id: Uuid::now_v7().to_string(),
        aggregate_kind: event.aggregate_kind.to_owned(),
        aggregate_id: event.aggregate_id,
        version: event.version,
        occurred_at: Some(message::timestamp(event.occurred_at)),
        traceparent: event.traceparent.clone(),
        trace_id: event.trace_id.clone(),
        payload: Some(message::payload(&event.event_type, event.payload.clone())),
    }
}

/// Adds events to the writes of a transaction, which must hold the locks of the aggregates that they tell of: so an
/// aggregate's events get their row ids in the order of its changes.
///
/// Those of one shard share a row, up to a bound: a row costs the database and the bus the same, however many events it
/// tells.
///
/// # Errors
/// See [`Script::push`].
pub fn append(writes: &mut Script, events: &[Event]) -> Result<()> {
    let mut shards: PerShard<Vec<&Event>> = PerShard::from_fn(|_| Vec::new());
    for event in events {
        shards[Shard::of(event.aggregate_kind, event.aggregate_id)].push(event);
    }
    let mut rows = Vec::new();
    for (shard, events) in shards.iter() {
        let portions = message::portions(events, |event| event.payload.len());
        rows.extend(portions.filter_map(|portion| NewRow::new(shard, portion)));
    }
    writes.insert(outbox::table, rows)
}
