//! What a schema's outbox tells.

use api::events::v1::{EventBatch, EventEnvelope};
use db::{Conn, Db};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use prost::Message as _;
use prost_types::Any;

/// The type of a row that tells of several events.
const BATCH: &str = "commerce.events.v1.EventBatch";

diesel::table! {
    outbox (id) {
        id -> BigInt,
        event_type -> VarChar,
        aggregate_kind -> VarChar,
        aggregate_id -> BigInt,
        version -> BigInt,
        trace_id -> VarChar,
        traceparent -> VarChar,
        payload -> Blob,
    }
}

#[derive(Queryable)]
struct Row {
    _id: i64,
    event_type: String,
    aggregate_kind: String,
    aggregate_id: i64,
    version: i64,
    trace_id: String,
    traceparent: String,
    payload: Vec<u8>,
}

/// All events of an outbox in the order of their rows, also those that share a row; without their ids and times.
pub async fn told(db: &Db) -> Vec<EventEnvelope> {
    let read = async |conn: &mut Conn| -> db::Result<Vec<Row>> {
        Ok(outbox::table.order(outbox::id).load(conn).await?)
    };
    let rows = db.read(read).await.expect("the outbox");
    rows.into_iter().flat_map(Row::events).collect()
}

impl Row {
    fn events(self) -> Vec<EventEnvelope> {
        if self.event_type == BATCH {
            let batch = EventBatch::decode(self.payload.as_slice()).expect("events");
            let plain =
                |event| EventEnvelope { event_id: String::new(), occurred_at: None, ..event };
            return batch.events.into_iter().map(plain).collect();
        }
        vec![EventEnvelope {
            aggregate_kind: self.aggregate_kind,
            aggregate_id: self.aggregate_id,
            version: self.version,
            trace_id: self.trace_id,
            traceparent: self.traceparent,
            payload: Some(Any {
                type_url: format!("type.googleapis.com/{}", self.event_type),
                value: self.payload,
            }),
            ..EventEnvelope::default()
        }]
    }
}
