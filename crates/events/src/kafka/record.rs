//! What a record says: one event, under headers from which a reader puts the row together again.

use crate::Shard;
use crate::bus::Message;
use crate::message::{BATCH, payload, type_of};
use api::events::v1::EventEnvelope;
use prost::Message as _;
use rdkafka::message::{Header, Headers, OwnedHeaders};

/// The headers of every record of an events topic, as text.
mod header {
    /// The row's number within its shard.
    pub(super) const POSITION: &str = "position";
    /// The event's place in its row, from 0.
    pub(super) const INDEX: &str = "index";
    /// Events of the row.
    pub(super) const COUNT: &str = "count";
    /// The position of the row before, as whoever wrote this one knew it; 0 for the first.
    pub(super) const AFTER: &str = "after";
    /// The life of the topic that the record belongs to.
    pub(super) const GENERATION: &str = "generation";
    /// Where the row has several events: its outer envelope without payload, in hexadecimal digits.
    pub(super) const ROW: &str = "row";
    /// The full name of the payload's message.
    pub(super) const TYPE: &str = "type";
    /// The trace id of the call that made the change.
    pub(super) const TRACE_ID: &str = "trace-id";
    /// The W3C context of that call.
    pub(super) const TRACE_PARENT: &str = "traceparent";
}

/// A record to be written.
pub(super) struct Record {
    pub(super) shard: Shard,
    pub(super) key: Option<String>,
    pub(super) headers: OwnedHeaders,
    pub(super) value: Vec<u8>,
}

/// What the headers of a record say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: String,
    pub(super) position: i64,
    pub(super) after: i64,
    pub(super) index: usize,
    pub(super) count: usize,
    row: Option<Vec<u8>>,
}

/// A row of which some events have arrived.
#[derive(Debug)]
pub(super) struct Partial {
    place: Place,
    events: Vec<Vec<u8>>,
}

/// An `EventBatch` whose events stay as they were encoded: also fields that this version does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct RawBatch {
    #[prost(bytes = "vec", repeated, tag = "1")]
    events: Vec<Vec<u8>>,
}

/// A row's records: one an event. Bytes that are no envelope go out as they are.
pub(super) fn split(shard: Shard, generation: &str, after: i64, message: &Message) -> Vec<Record> {
    let (row, events) = open(&message.envelope);
    let count = events.len();
    let record = |(index, value): (usize, Vec<u8>)| {
        let mut headers =
            text(OwnedHeaders::new(), header::POSITION, &message.position.to_string());
        for (name, number) in [(header::INDEX, index), (header::COUNT, count)] {
            headers = text(headers, name, &number.to_string());
        }
        headers = text(headers, header::AFTER, &after.to_string());
        headers = text(headers, header::GENERATION, generation);
        if let Some(row) = &row {
            headers = text(headers, header::ROW, row);
        }
        let event = EventEnvelope::decode(value.as_slice()).ok();
        for (name, value) in event.iter().flat_map(|event| {
            [
                (header::TYPE, type_of(event)),
                (header::TRACE_ID, event.trace_id.as_str()),
                (header::TRACE_PARENT, event.traceparent.as_str()),
            ]
        }) {
            if !value.is_empty() {
                headers = text(headers, name, value);
            }
        }
        let key = event.map(|event| event.aggregate_id.to_string());
        Record { shard, key, headers, value }
    };
    events.into_iter().enumerate().map(record).collect()
}

fn text(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// The events of a row, and its outer envelope where it has several.
fn open(envelope: &[u8]) -> (Option<String>, Vec<Vec<u8>>) {
    let whole = || (None, vec![envelope.to_vec()]);
    let Ok(mut outer) = EventEnvelope::decode(envelope) else { return whole() };
    let batch = match &outer.payload {
        Some(payload) if type_of(&outer) == BATCH => RawBatch::decode(payload.value.as_slice()),
        _ => return whole(),
    };
    match batch {
        Ok(RawBatch { events }) if !events.is_empty() => {
            outer.payload = None;
            (Some(hex(&outer.encode_to_vec())), events)
        }
        _ => whole(),
    }
}

impl Place {
    /// `None` for a record that no relay wrote.
    pub(super) fn of<H: Headers>(headers: &H) -> Option<Self> {
        let find = |name: &str| {
            let value = headers.iter().find(|header| header.key == name)?.value?;
            std::str::from_utf8(value).ok()
        };
        let row = match find(header::ROW) {
            Some(row) => Some(unhex(row)?),
            None => None,
        };
        Some(Self {
            generation: find(header::GENERATION)?.to_owned(),
            position: find(header::POSITION)?.parse().ok()?,
            after: find(header::AFTER)?.parse().ok()?,
            index: find(header::INDEX)?.parse().ok()?,
            count: find(header::COUNT)?.parse().ok()?,
            row,
        })
    }

    /// Where the stream stands when this is its last record: a row counts when it is whole.
    pub(super) fn top(&self) -> i64 {
        if self.index + 1 == self.count { self.position } else { self.after }
    }
}

impl Partial {
    /// Adds a record to the row that is under way, if there is one. Yields the row when it is whole.
    ///
    /// Two relays may have written the same row at once, their records mixed: a repeat is passed over, and a first record
    /// begins anew.
    pub(super) fn add(
        under_way: &mut Option<Self>,
        place: &Place,
        value: Vec<u8>,
    ) -> Option<Message> {
        let same = under_way.as_ref().is_some_and(|it| {
            it.place.position == place.position && it.place.generation == place.generation
        });
        if !same {
            *under_way = None;
            if place.index > 0 {
                return None;
            }
        }
        let partial =
            under_way.get_or_insert_with(|| Self { place: place.clone(), events: Vec::new() });
        if partial.events.len() == place.index {
            partial.events.push(value);
        }
        if partial.events.len() < partial.place.count {
            return None;
        }
        under_way.take().map(Self::into_message)
    }

    fn into_message(self) -> Message {
        let Self { place, mut events } = self;
        let envelope = match place.row {
            None => events.pop().unwrap_or_default(),
            Some(outer) => {
                let outer = EventEnvelope::decode(outer.as_slice()).unwrap_or_default();
                let payload = Some(payload(BATCH, RawBatch { events }.encode_to_vec()));
                EventEnvelope { payload, ..outer }.encode_to_vec()
            }
        };
        Message { position: place.position, envelope }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::batch;

    fn event(version: i64) -> EventEnvelope {
        EventEnvelope {
            aggregate_id: 7,
            version,
            trace_id: "t".to_owned(),
            ..EventEnvelope::default()
        }
    }

    fn row(position: i64, versions: std::ops::RangeInclusive<i64>) -> Message {
        let payload = Some(payload(BATCH, batch(versions.map(event).collect())));
        let event_id = uuid::Uuid::from_bytes([9; 16]).to_string();
        let outer = EventEnvelope { event_id, payload, ..EventEnvelope::default() };
        Message { position, envelope: outer.encode_to_vec() }
    }

    fn records(message: &Message) -> Vec<(Place, Vec<u8>)> {
        let records = split(Shard::of("order", 7), "g", message.position - 1, message);
        records.into_iter().map(|it| (Place::of(&it.headers).unwrap(), it.value)).collect()
    }

    fn join(records: Vec<(Place, Vec<u8>)>) -> Vec<Message> {
        let mut under_way = None;
        let add = |(place, value): (Place, Vec<u8>)| Partial::add(&mut under_way, &place, value);
        records.into_iter().filter_map(add).collect()
    }

    #[test]
    fn a_row_becomes_a_record_an_event_and_comes_back_as_it_was() {
        let single = Message { position: 3, envelope: event(1).encode_to_vec() };
        let garbage = Message { position: 5, envelope: vec![1] };
        for (message, count) in [(row(4, 1..=3), 3), (single, 1), (garbage, 1)] {
            let records = records(&message);
            assert_eq!(records.len(), count);
            assert_eq!(join(records), [message]);
        }
    }

    #[test]
    fn a_row_that_two_wrote_at_once_comes_once_whole() {
        let message = row(4, 1..=3);
        let both = records(&message).into_iter().flat_map(|record| [record.clone(), record]);
        let mut all: Vec<_> = both.collect();
        // The last record of the second copy has nothing to join.
        assert_eq!(join(all.clone()), std::slice::from_ref(&message));
        all.remove(0);
        assert_eq!(join(all), [message]);
    }

    #[test]
    fn a_row_that_was_cut_off_does_not_count_and_is_dropped_for_its_repeat() {
        let (message, next) = (row(4, 1..=3), row(5, 4..=5));
        let mut all = records(&message);
        all.truncate(2);
        assert_eq!(all[1].0.top(), 3);
        all.extend(records(&message));
        all.extend(records(&next));
        assert_eq!(all.last().unwrap().0.top(), 5);
        assert_eq!(join(all), [message, next]);
        // A reader that begins in the middle of a row waits for the next.
        let tail = records(&row(4, 1..=3)).split_off(1);
        assert_eq!(join(tail), []);
    }
}
