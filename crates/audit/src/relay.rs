//! The numbers that the relay gives to events.

use crate::batches::{self, BATCH};
use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use chrono::{NaiveDateTime, TimeDelta};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool, Datetime, Nullable, Text};
use events::rewound::REWOUND;
use events::{SHARDS, Shard};
use std::collections::BTreeMap;
use std::time::Duration;

/// A shard as its row tells.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub(crate) struct Told {
    #[diesel(sql_type = BigInt)]
    shard: i64,
    #[diesel(sql_type = BigInt)]
    last_position: i64,
    #[diesel(sql_type = BigInt)]
    published_position: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    shard: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    position: Option<i64>,
    #[diesel(sql_type = Text)]
    aggregate_kind: String,
    #[diesel(sql_type = BigInt)]
    aggregate_id: i64,
    #[diesel(sql_type = Datetime)]
    occurred_at: NaiveDateTime,
    /// The events of a row that holds several.
    #[diesel(sql_type = Nullable<Binary>)]
    batch: Option<Vec<u8>>,
    /// Whether its number goes on above numbers that are lost.
    #[diesel(sql_type = Bool)]
    is_rewound: bool,
}

#[derive(QueryableByName)]
struct Twice {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Checks the outbox of a schema; with `within`, that no event waits longer for its number.
pub(crate) async fn check(
    invariant: &Invariant,
    within: Option<Duration>,
    snapshot: &mut Snapshot,
    findings: &mut Findings,
) -> Result<()> {
    const SHARD_ROWS: &str = "SELECT shard, last_position, published_position FROM outbox_shard";
    // What the second part reads was copied when the events were checked.
    const TWICE: &str = "SELECT MAX(id) AS id FROM (SELECT id, event_id FROM outbox \
        UNION ALL SELECT row_id, event_id FROM audit_event) e GROUP BY event_id HAVING COUNT(*) > 1";
    let rows = format!(
        "SELECT id, shard, position, aggregate_kind, aggregate_id, occurred_at, \
        IF(event_type = '{BATCH}', payload, NULL) AS batch, \
        IF(event_type = '{REWOUND}', 1, 0) AS is_rewound FROM outbox ORDER BY shard, position, id"
    );
    let within = within.and_then(|within| TimeDelta::from_std(within).ok());
    let oldest = within.and_then(|within| db::to_db(db::now_micros()).checked_sub_signed(within));
    let told: Vec<Told> = snapshot.all(SHARD_ROWS).await?;
    let mut told: BTreeMap<i64, Told> = told.into_iter().map(|row| (row.shard, row)).collect();
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    snapshot
        .each(rows, |row: Row| {
            let follows = match row.position {
                None => oldest.is_none_or(|oldest| row.occurred_at > oldest),
                Some(position) => last
                    .insert(row.shard, position)
                    // What is below the first may be gone, its retention being over.
                    .is_none_or(|before| row.is_rewound || before.checked_add(1) == Some(position)),
            };
            let holds = follows && row.is_in_its_shard();
            findings.check(invariant, holds, format!("event {} shard {}", row.id, row.shard));
        })
        .await?;
    for row in snapshot.all::<Twice>(TWICE).await? {
        findings.offend(invariant, format!("event {} twice", row.id));
    }
    for shard in 0..i64::from(SHARDS) {
        let holds = told.remove(&shard).is_some_and(|told| {
            let reached = last.get(&shard).is_none_or(|last| *last == told.last_position);
            reached && (0..=told.last_position).contains(&told.published_position)
        });
        findings.check(invariant, holds, format!("shard {shard}"));
    }
    for shard in told.keys() {
        findings.offend(invariant, format!("shard {shard}"));
    }
    Ok(())
}

impl Row {
    fn is_in_its_shard(&self) -> bool {
        let is_of = |kind: &str, id| i64::from(Shard::of(kind, id).number()) == self.shard;
        let Some(batch) = &self.batch else {
            return is_of(&self.aggregate_kind, self.aggregate_id);
        };
        let events = batches::inner(batch);
        !events.is_empty()
            && events.iter().all(|event| is_of(&event.aggregate_kind, event.aggregate_id))
    }
}
