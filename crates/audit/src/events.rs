//! Changes against the events that tell of them.
//!
//! Tables and outbox are read as one stream, sorted by aggregate and version, so that a change and its event come side
//! by side and nothing is kept. An event may be gone once its retention is over: never before 72 hours, and never
//! while an older event of the same aggregate is still there.

use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use chrono::{NaiveDateTime, TimeDelta};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool, Datetime, Text};
use futures_util::TryStreamExt;

/// An outbox row is kept at least this long.
const RETENTION: TimeDelta = TimeDelta::hours(72);

/// A schema's events.
pub(crate) struct Events {
    pub(crate) invariant: Invariant,
    /// Selects the changes, see [`Row`].
    pub(crate) changes: &'static str,
    /// Whether an event's payload tells the change: its type, then the change, then the payload.
    pub(crate) tells: fn(&str, &Row, &[u8]) -> bool,
}

/// A change, or an event.
#[derive(QueryableByName)]
pub(crate) struct Row {
    #[diesel(sql_type = Text)]
    pub(crate) kind: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) version: i64,
    #[diesel(sql_type = Bool)]
    is_event: bool,
    /// The event's type, which a change asks for.
    #[diesel(sql_type = Text)]
    pub(crate) event_type: String,
    #[diesel(sql_type = Datetime)]
    at: NaiveDateTime,
    /// Numbers of the change that its event tells, too; of an event its row id and its position.
    #[diesel(sql_type = BigInt)]
    pub(crate) a: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) b: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) c: i64,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

/// An aggregate's events up to here.
#[derive(Default)]
struct Told {
    kind: String,
    id: i64,
    any: bool,
    row_id: i64,
    position: i64,
}

/// A position that the relay has not given yet comes after all that it has.
const UNNUMBERED: &str = "9223372036854775807";

impl Events {
    /// Checks every change and every event.
    pub(crate) async fn check(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        let sql = format!(
            "{} UNION ALL SELECT aggregate_kind AS kind, aggregate_id AS id, version, \
            1 AS is_event, event_type, occurred_at AS at, id AS a, \
            COALESCE(position, {UNNUMBERED}) AS b, 0 AS c, payload FROM outbox \
            ORDER BY kind, id, version, is_event, a",
            self.changes
        );
        let old = db::to_db(db::now_micros()) - RETENTION;
        let mut rows = snapshot.rows::<Row>(sql).await?;
        let mut told = Told::default();
        let mut change: Option<Row> = None;
        while let Some(row) = rows.try_next().await? {
            findings.row(&self.invariant);
            if !row.is_event {
                self.untold(findings, change.take(), &told, old);
                told.move_to(&row);
                change = Some(row);
                continue;
            }
            let due = change.take_if(|change| change.names(&row));
            self.untold(findings, change.take(), &told, old);
            told.move_to(&row);
            let right = due.is_some_and(|change| {
                change.event_type == row.event_type
                    && (self.tells)(&row.event_type, &change, &row.payload)
            });
            if !(right && told.accepts(&row)) {
                findings.offend(&self.invariant, row.name());
            }
            told.push(&row);
        }
        self.untold(findings, change, &told, old);
        Ok(())
    }

    /// A change for which no event came.
    fn untold(
        &self,
        findings: &mut Findings,
        change: Option<Row>,
        told: &Told,
        old: NaiveDateTime,
    ) {
        if let Some(change) = change.filter(|change| told.any || change.at > old) {
            findings.offend(&self.invariant, change.name());
        }
    }
}

impl Row {
    fn names(&self, event: &Self) -> bool {
        (&self.kind, self.id, self.version) == (&event.kind, event.id, event.version)
    }

    fn name(&self) -> String {
        let Self { kind, id, version, .. } = self;
        format!("{kind} {id} version {version}")
    }
}

impl Told {
    fn move_to(&mut self, row: &Row) {
        if (&self.kind, self.id) != (&row.kind, row.id) {
            *self = Self { kind: row.kind.clone(), id: row.id, ..Self::default() };
        }
    }

    /// Later versions were written later and are published later.
    fn accepts(&self, event: &Row) -> bool {
        !self.any || (event.a > self.row_id && event.b >= self.position)
    }

    fn push(&mut self, event: &Row) {
        self.any = true;
        self.row_id = event.a;
        self.position = event.b;
    }
}
