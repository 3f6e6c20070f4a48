//! Changes against the events that tell of them.
//!
//! Tables and outbox are read as one stream, sorted by aggregate and version, so that a change and its event come side
//! by side and nothing is kept; events that share a row are copied out of it first. An event may be gone once its
//! retention is over: never before 72 hours, and never while an older event of the same aggregate is still there.

use crate::batches::{self, BATCH};
use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use chrono::{NaiveDateTime, TimeDelta};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool, Datetime, Text};
use events::rewound::REWOUND;
use futures_util::TryStreamExt;

/// An outbox row is kept at least this long.
const RETENTION: TimeDelta = TimeDelta::hours(72);

/// Missing versions of one aggregate that are named.
const NAMED: usize = 100;

/// A schema's events.
pub(crate) struct Events {
    pub(crate) invariant: Invariant,
    /// Selects the changes: the columns of [`Row`], of which the first part names them.
    pub(crate) changes: &'static str,
    /// Whether an event tells of the change.
    pub(crate) tells: fn(&Row, &Told<'_>) -> bool,
}

/// What an event says.
pub(crate) struct Told<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) version: i64,
    pub(crate) payload: &'a [u8],
}

/// A change, or several that follow each other, or an event.
#[derive(QueryableByName)]
pub(crate) struct Row {
    #[diesel(sql_type = Text)]
    pub(crate) kind: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) version: i64,
    /// The last version that this row stands for; mostly the first.
    #[diesel(sql_type = BigInt)]
    pub(crate) through: i64,
    #[diesel(sql_type = Bool)]
    is_event: bool,
    /// The event's type; of a change empty where the type is not all that decides.
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = Datetime)]
    at: NaiveDateTime,
    /// Numbers of the change that its event tells, too; of an event its row's id and position, and its place in the row.
    #[diesel(sql_type = BigInt)]
    pub(crate) a: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) b: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) c: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) d: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) e: i64,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

/// Where an event stands in the outbox.
#[derive(Clone, Copy)]
struct Stand {
    /// Its row's id, and its place in the row.
    row: (i64, i64),
    /// Its row's position.
    position: i64,
}

/// An aggregate up to here.
#[derive(Default)]
struct Aggregate {
    kind: String,
    id: i64,
    /// Changes that no event has told yet, the first of them being `next`.
    due: Option<Row>,
    next: i64,
    /// Where the newest event stands.
    newest: Option<Stand>,
}

impl Events {
    /// Checks every change and every event.
    pub(crate) async fn check(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        batches::unpack(snapshot).await?;
        // A position that the relay has not given yet comes after all that it has.
        let unnumbered = i64::MAX;
        let events = |row: &str, place: &str, from: &str| {
            format!(
                "SELECT aggregate_kind AS kind, aggregate_id AS id, version, version AS through, \
                1 AS is_event, event_type, occurred_at AS at, {row} AS a, \
                COALESCE(position, {unnumbered}) AS b, {place} AS c, 0 AS d, 0 AS e, payload \
                FROM {from}"
            )
        };
        let sql = format!(
            "{} UNION ALL {} WHERE event_type NOT IN ('{BATCH}', '{REWOUND}') UNION ALL {} \
            ORDER BY kind, id, version, is_event, a, c",
            self.changes,
            events("id", "0", "outbox"),
            events("row_id", "place", "audit_event"),
        );
        let old = db::to_db(db::now_micros()) - RETENTION;
        let mut rows = snapshot.rows::<Row>(sql).await?;
        let mut aggregate = Aggregate::default();
        while let Some(row) = rows.try_next().await? {
            findings.row(&self.invariant);
            if (&aggregate.kind, aggregate.id) != (&row.kind, row.id) {
                self.untold(findings, &mut aggregate, i64::MAX, old);
                let (kind, id) = (row.kind.clone(), row.id);
                aggregate = Aggregate { kind, id, ..Aggregate::default() };
            }
            self.untold(findings, &mut aggregate, row.version, old);
            if row.is_event {
                if !self.accepts(&mut aggregate, &row) {
                    findings.offend(&self.invariant, aggregate.name(row.version));
                }
            } else {
                let (version, next) = (aggregate.next, row.version);
                aggregate.next = next;
                if aggregate.due.replace(row).is_some() {
                    // Two changes to one version: one of them has no event.
                    findings.offend(&self.invariant, aggregate.name(version));
                }
            }
        }
        self.untold(findings, &mut aggregate, i64::MAX, old);
        Ok(())
    }

    /// Whether the event tells of the change that is due, and comes after the events before it.
    fn accepts(&self, aggregate: &mut Aggregate, event: &Row) -> bool {
        let stand = Stand { row: (event.a, event.c), position: event.b };
        let in_order = aggregate
            .newest
            .replace(stand)
            .is_none_or(|before| stand.row > before.row && stand.position >= before.position);
        let Some(due) = aggregate.due.take_if(|_| aggregate.next == event.version) else {
            return false;
        };
        let told =
            Told { event_type: &event.event_type, version: event.version, payload: &event.payload };
        let typed = due.event_type.is_empty() || due.event_type == event.event_type;
        let right = typed && (self.tells)(&due, &told);
        if event.version < due.through {
            aggregate.next = event.version.saturating_add(1);
            aggregate.due = Some(due);
        }
        right && in_order
    }

    /// Changes below this version for which no event came.
    fn untold(
        &self,
        findings: &mut Findings,
        aggregate: &mut Aggregate,
        below: i64,
        old: NaiveDateTime,
    ) {
        let Some(due) = aggregate.due.take() else { return };
        let must_be_there = aggregate.newest.is_some() || due.at > old;
        let last = due.through.min(below.saturating_sub(1));
        if must_be_there {
            for version in (aggregate.next..=last).take(NAMED) {
                findings.offend(&self.invariant, aggregate.name(version));
            }
        }
        if due.through > last {
            aggregate.next = aggregate.next.max(below);
            aggregate.due = Some(due);
        }
    }
}

impl Aggregate {
    fn name(&self, version: i64) -> String {
        format!("{} {} version {version}", self.kind, self.id)
    }
}
