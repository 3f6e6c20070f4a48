//! What a message on the bus says: one event, or several of one transaction.

use api::events::v1::{EventBatch, EventEnvelope};
use chrono::{DateTime, Utc};
use prost::{DecodeError, Message, Name};
use prost_types::{Any, Timestamp};

/// The type of a message that holds several events.
pub const BATCH: &str = "commerce.events.v1.EventBatch";

/// What stands before a type's full name in a type URL.
const TYPE_URL: &str = "type.googleapis.com/";

/// Events of one message.
const MOST_EVENTS: usize = 64;
/// Bytes of payload in one message of several events. Rows, streams and what a reader holds at once are bounded in
/// messages, so a message must not be large.
const MOST_BYTES: usize = 8 * 1024;

/// The events of a message, in order.
///
/// # Errors
/// For bytes that no outbox wrote.
pub fn unpack(message: &[u8]) -> Result<Vec<EventEnvelope>, DecodeError> {
    let envelope = EventEnvelope::decode(message)?;
    match &envelope.payload {
        Some(payload) if type_of(&envelope) == BATCH => inner(&payload.value),
        _ => Ok(vec![envelope]),
    }
}

/// The full name of an event's type, such as `commerce.order.v1.OrderConfirmed`; empty where the event has none.
pub fn type_of(event: &EventEnvelope) -> &str {
    let url = event.payload.as_ref().map_or("", |payload| payload.type_url.as_str());
    url.rsplit('/').next().unwrap_or("")
}

/// The event, if it is of this type.
///
/// # Errors
/// For content that is none of this type.
pub fn read<M: Name + Default>(event: &EventEnvelope) -> Result<Option<M>, DecodeError> {
    match &event.payload {
        Some(payload) if type_of(event) == M::full_name() => {
            M::decode(payload.value.as_slice()).map(Some)
        }
        _ => Ok(None),
    }
}

/// A payload of an envelope: the type's full name and the encoded content.
pub fn payload(event_type: &str, value: Vec<u8>) -> Any {
    Any { type_url: format!("{TYPE_URL}{event_type}"), value }
}

/// The events that the payload of a message of the type [`BATCH`] holds.
///
/// # Errors
/// For bytes that no outbox wrote.
pub fn inner(payload: &[u8]) -> Result<Vec<EventEnvelope>, DecodeError> {
    Ok(EventBatch::decode(payload)?.events)
}

/// The payload that holds these events.
pub(crate) fn batch(events: Vec<EventEnvelope>) -> Vec<u8> {
    EventBatch { events }.encode_to_vec()
}

/// Cuts events into what one message may hold, at least one each.
pub(crate) fn portions<'a, T>(
    events: &'a [T],
    bytes: impl Fn(&T) -> usize + 'a,
) -> impl Iterator<Item = &'a [T]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fit = rest.iter().take(MOST_EVENTS).take_while(|event| {
            sum += bytes(event);
            sum <= MOST_BYTES
        });
        let count = fit.count().max(1);
        let (portion, others) = rest.split_at_checked(count)?;
        rest = others;
        Some(portion)
    })
}

pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: at.timestamp(), nanos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::events::v1::OutboxRewound;

    fn cut(sizes: &[usize]) -> Vec<usize> {
        portions(sizes, |size| *size).map(<[usize]>::len).collect()
    }

    #[test]
    fn a_message_is_bounded_in_events_and_in_bytes_and_holds_at_least_one() {
        assert_eq!(cut(&[]), [0; 0]);
        assert_eq!(cut(&[1; 130]), [64, 64, 2]);
        assert_eq!(cut(&[4_096, 4_096, 1, 60_000, 1]), [2, 1, 1, 1]);
    }

    #[test]
    fn a_message_of_several_events_yields_them_in_order() {
        let event = |version| EventEnvelope { version, ..EventEnvelope::default() };
        let payload = Some(payload(BATCH, batch(vec![event(1), event(2)])));
        let packed = EventEnvelope { payload, ..EventEnvelope::default() };
        assert_eq!(unpack(&packed.encode_to_vec()).unwrap(), [event(1), event(2)]);
        assert_eq!(unpack(&event(3).encode_to_vec()).unwrap(), [event(3)]);
        assert!(unpack(&[0xff, 0xff]).is_err());
    }

    #[test]
    fn an_event_is_read_as_its_own_type_only() {
        let rewound = OutboxRewound { after: 7 };
        let payload = Some(payload(&OutboxRewound::full_name(), rewound.encode_to_vec()));
        let event = EventEnvelope { payload, ..EventEnvelope::default() };
        assert_eq!(type_of(&event), "commerce.events.v1.OutboxRewound");
        assert_eq!(read(&event), Ok(Some(rewound)));
        assert_eq!(read::<EventBatch>(&event), Ok(None));
        assert_eq!(read::<EventBatch>(&EventEnvelope::default()), Ok(None));
        assert_eq!(EventBatch::full_name(), BATCH);
    }
}
