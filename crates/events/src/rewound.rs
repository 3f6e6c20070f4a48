//! What an outbox says of itself after it was put back to an earlier state.
//!
//! A restore, or a failover to a server that lacks the last commits, takes rows and their numbers back. The bus, its
//! consumers and followers of the outbox may know events under those numbers, so no number is given twice: numbering goes on
//! above all that is known, after a row that says where it does. Whoever finds a hole before such a row has missed
//! nothing, and whoever counts what the outbox tells counts again, because some of what was counted never was.

use crate::Shard;
use crate::message::{read, unpack};
use crate::schema::outbox;
use api::events::v1::{EventEnvelope, OutboxRewound};
use chrono::NaiveDateTime;
use db::Bytes16;
use diesel::prelude::*;
use prost::Message as _;
use uuid::Uuid;

/// The type of the event.
pub const REWOUND: &str = "commerce.events.v1.OutboxRewound";
/// The kind of its aggregate, which is a shard of the outbox itself.
const KIND: &str = "outbox";

#[derive(Insertable)]
#[diesel(table_name = outbox)]
pub(crate) struct Row {
    shard: i8,
    position: i64,
    event_id: Bytes16,
    event_type: &'static str,
    aggregate_kind: &'static str,
    aggregate_id: i64,
    version: i64,
    occurred_at: NaiveDateTime,
    trace_id: &'static str,
    traceparent: &'static str,
    payload: Vec<u8>,
}

impl Row {
    /// Says that numbering went from `after` to `position` at once.
    pub(crate) fn new(shard: Shard, after: i64, position: i64) -> Self {
        Self {
            shard: shard.column(),
            position,
            event_id: Uuid::now_v7().into(),
            event_type: REWOUND,
            aggregate_kind: KIND,
            aggregate_id: aggregate(shard),
            version: position,
            occurred_at: db::to_db(db::now_micros()),
            trace_id: "",
            traceparent: "",
            payload: OutboxRewound { after }.encode_to_vec(),
        }
    }
}

/// An id of the kind [`KIND`] whose events belong to the shard.
fn aggregate(shard: Shard) -> i64 {
    (1..1_000).find(|id| Shard::of(KIND, *id) == shard).unwrap_or_default()
}

/// The position that the message's row follows in the outbox, where the message is an [`OutboxRewound`].
pub fn follows(message: &[u8]) -> Option<i64> {
    match unpack(message).ok()?.as_slice() {
        [event] => after(event),
        _ => None,
    }
}

/// The position that the event's row follows in the outbox, where the event is an [`OutboxRewound`].
pub fn after(event: &EventEnvelope) -> Option<i64> {
    Some(read::<OutboxRewound>(event).ok()??.after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message;

    #[test]
    fn every_shard_has_an_aggregate_of_its_own() {
        for shard in Shard::all() {
            assert_eq!(Shard::of(KIND, aggregate(shard)), shard);
        }
    }

    #[test]
    fn a_message_tells_what_it_follows_only_where_it_is_of_that_type() {
        let payload = OutboxRewound { after: 7 }.encode_to_vec();
        let event = |event_type: &str| EventEnvelope {
            payload: Some(message::payload(event_type, payload.clone())),
            ..EventEnvelope::default()
        };
        assert_eq!(follows(&event(REWOUND).encode_to_vec()), Some(7));
        assert_eq!(follows(&event("commerce.order.v1.OrderConfirmed").encode_to_vec()), None);
        assert_eq!(follows(&[0xff, 0xff]), None);
    }
}
