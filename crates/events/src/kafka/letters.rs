//! Dead letters as records: the envelope as it came, and in headers whose it is and what is wrong with it.

use crate::Shard;
use crate::bus::DeadLetter;
use rdkafka::Message as _;
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use std::collections::BTreeMap;

/// A record to be written.
pub(super) struct Record {
    pub(super) key: String,
    pub(super) headers: OwnedHeaders,
    pub(super) value: Vec<u8>,
}

/// A consumer's letter as a record.
pub(super) fn record(consumer: &str, letter: &DeadLetter) -> Record {
    let DeadLetter { shard, position, index, reason, envelope } = letter;
    let (shard, position, index) = (shard.to_string(), position.to_string(), index.to_string());
    let key = format!("{consumer}:{shard}:{position}:{index}");
    let headers = [
        ("consumer", consumer),
        ("shard", &shard),
        ("position", &position),
        ("index", &index),
        ("reason", reason),
    ];
    let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    Record { key, headers, value: envelope.clone() }
}

/// A consumer's letters among all records, by shard and position. One that was buried again is one.
pub(super) fn of(consumer: &str, records: &[OwnedMessage]) -> Vec<DeadLetter> {
    let mut letters = BTreeMap::new();
    for letter in records.iter().filter_map(|record| letter(consumer, record)) {
        letters.entry((letter.shard, letter.position, letter.index)).or_insert(letter);
    }
    letters.into_values().collect()
}

fn letter(consumer: &str, record: &OwnedMessage) -> Option<DeadLetter> {
    let headers = record.headers()?;
    let find = |name: &str| {
        let value = headers.iter().find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok()
    };
    if find("consumer")? != consumer {
        return None;
    }
    Some(DeadLetter {
        shard: Shard::new(find("shard")?.parse().ok()?)?,
        position: find("position")?.parse().ok()?,
        index: find("index")?.parse().ok()?,
        reason: find("reason")?.to_owned(),
        envelope: record.payload().unwrap_or_default().to_vec(),
    })
}
