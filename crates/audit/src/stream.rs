//! The bus against the outbox.
//!
//! Only published events are on the bus, and they were committed and numbered before. So the outbox, read after the
//! stream, has every event that the stream has, and the stream every one between those that it has.

use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::events::v1::EventEnvelope;
use db::Bytes16;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use events::bus::{Message, Reader};
use events::message::type_of;
use events::{Positions, Shard};
use prost::Message as _;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Events of one shard that are compared at once.
const PAGE: usize = 200;
/// A bus that lost its data is being refilled: it is looked at again.
const READINGS: usize = 4;
/// Time between them.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = Binary)]
    event_id: Bytes16,
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = Text)]
    aggregate_kind: String,
    #[diesel(sql_type = BigInt)]
    aggregate_id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

#[derive(QueryableByName)]
struct Top {
    #[diesel(sql_type = BigInt)]
    shard: i64,
    #[diesel(sql_type = BigInt)]
    published_position: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
}

/// Checks the streams of one schema.
pub(crate) async fn check(
    invariant: &Invariant,
    snapshot: &mut Snapshot,
    bus: &dyn events::Bus,
    findings: &mut Findings,
) -> Result<()> {
    for reading in 1.. {
        let mut seen = 0;
        let offences = read(snapshot, bus.reader(), &mut seen).await?;
        if offences.is_empty() || reading == READINGS {
            findings.rows(invariant, seen);
            for offence in offences {
                findings.offend(invariant, offence);
            }
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn read(
    snapshot: &mut Snapshot,
    mut reader: Box<dyn Reader>,
    seen: &mut u64,
) -> Result<Vec<String>> {
    const PUBLISHED: &str = "SELECT s.shard, s.published_position, (SELECT MIN(position) \
        FROM outbox o WHERE o.shard = s.shard) AS first FROM outbox_shard s";
    snapshot.renew().await?;
    let published: Vec<Top> = snapshot.all(PUBLISHED).await?;
    let retained: BTreeMap<i64, i64> =
        published.iter().map(|row| (row.shard, row.first.unwrap_or(i64::MAX))).collect();
    let mut offences = Vec::new();
    let mut at = Positions::default();
    loop {
        let batches = reader.read(&at, PAGE, Duration::ZERO).await?;
        if batches.is_empty() {
            break;
        }
        snapshot.renew().await?;
        for (shard, messages) in batches {
            let Some(last) = messages.last().map(|last| last.position) else { continue };
            *seen += u64::try_from(messages.len()).unwrap_or_default();
            let number = i64::from(shard.number());
            let retained = retained.get(&number).copied().unwrap_or(i64::MAX);
            compare(snapshot, shard, at[shard], &messages, retained, &mut offences).await?;
            at[shard] = last;
        }
    }
    for row in published {
        let shard = u8::try_from(row.shard).ok().and_then(Shard::new);
        // An empty stream may have been trimmed to its end, all consumers being done.
        let top = shard.map_or(0, |shard| at[shard]);
        if top > 0 && top < row.published_position {
            offences.push(format!("shard {} position {}", row.shard, row.published_position));
        }
    }
    Ok(offences)
}

/// Compares messages with the rows of the same positions.
async fn compare(
    snapshot: &mut Snapshot,
    shard: Shard,
    after: i64,
    messages: &[Message],
    retained: i64,
    offences: &mut Vec<String>,
) -> Result<()> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(()) };
    // What is below the stream's first event was trimmed.
    let from = if after == 0 { first.position } else { after.saturating_add(1) };
    let sql = format!(
        "SELECT position, event_id, event_type, aggregate_kind, aggregate_id, version, payload \
        FROM outbox WHERE shard = {shard} AND position BETWEEN {from} AND {}",
        last.position
    );
    let rows: Vec<Row> = snapshot.all(sql).await?;
    let mut rows: BTreeMap<i64, Row> = rows.into_iter().map(|row| (row.position, row)).collect();
    for message in messages {
        let same = match rows.remove(&message.position) {
            Some(row) => row.is(&message.envelope),
            None => message.position < retained,
        };
        if !same {
            offences.push(format!("shard {shard} position {}", message.position));
        }
    }
    offences.extend(rows.keys().map(|position| format!("shard {shard} position {position}")));
    Ok(())
}

impl Row {
    fn is(&self, envelope: &[u8]) -> bool {
        EventEnvelope::decode(envelope).is_ok_and(|told| {
            Uuid::try_parse(&told.event_id).is_ok_and(|id| id.into_bytes() == self.event_id.0)
                && type_of(&told) == self.event_type
                && told.payload.is_some_and(|payload| payload.value == self.payload)
                && (told.aggregate_kind.as_str(), told.aggregate_id, told.version)
                    == (self.aggregate_kind.as_str(), self.aggregate_id, self.version)
        })
    }
}
