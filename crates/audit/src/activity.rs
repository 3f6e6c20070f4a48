//! The activity log against the ledger and the orders.
//!
//! The log tells up to which events it has come, so it can be compared at any moment: a change whose event it has seen has
//! its one row, and a row has its change. What is compared is read as two streams in one order, the log's first, so that
//! every row's change is there. Nothing is asked of changes from before the log began or from days that it has dropped.

use crate::batches::{self, BATCH};
use crate::findings::Findings;
use crate::invariant::{ACTIVITY_LEDGER, ACTIVITY_ORDERS, ACTIVITY_POSITIONS, Invariant};
use crate::snapshot::Snapshot;
use anyhow::{Context, Result};
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool, Datetime, Text};
use events::{PerShard, Shard};
use futures_util::TryStreamExt;
use std::collections::BTreeSet;

/// Clocks of services differ, and what was committed later may have begun earlier.
const MARGIN: TimeDelta = TimeDelta::minutes(1);

/// Whose events, and the changes that they tell of.
struct Source {
    name: &'static str,
    invariant: Invariant,
    /// Selects the columns of [`Change`], sorted.
    changes: &'static str,
    /// Selects those of [`Row`] of the log, likewise.
    rows: &'static str,
}

const WALLET: Source = Source {
    name: "wallet",
    invariant: ACTIVITY_LEDGER,
    changes: "SELECT user_id AS id, 0 AS version, created_at AS at, 'WALLET' AS kind, \
        0 AS a, 0 AS b, 0 AS c FROM wallet \
        UNION ALL SELECT user_id, seq, created_at, \
        CASE kind WHEN 1 THEN 'CHARGE' WHEN 2 THEN 'USE' WHEN 3 THEN 'UNDO' ELSE 'REFUND' END, \
        amount, balance_after, COALESCE(order_id, 0) FROM ledger ORDER BY id, version",
    rows: "SELECT COALESCE(user_id, 0) AS id, version, kind, COALESCE(amount, 0) AS a, \
        COALESCE(balance_after, 0) AS b, COALESCE(order_id, 0) AS c FROM activity_log \
        WHERE source = 'wallet' ORDER BY id, version",
};

const ORDER: Source = Source {
    name: "order",
    invariant: ACTIVITY_ORDERS,
    changes: "SELECT id, 1 AS version, placed_at AS at, 'ORDER' AS kind, \
        user_id AS a, total AS b, paid AS c FROM orders \
        UNION ALL SELECT id, version, COALESCE(cancelled_at, placed_at), 'CANCEL', user_id, 0, 0 \
        FROM orders WHERE state = 3 ORDER BY id, version",
    rows: "SELECT COALESCE(order_id, 0) AS id, version, kind, COALESCE(user_id, 0) AS a, \
        COALESCE(total, 0) AS b, COALESCE(paid, 0) AS c FROM activity_log \
        WHERE source = 'order' ORDER BY id, version",
};

#[derive(QueryableByName)]
struct Change {
    #[diesel(sql_type = Datetime)]
    at: NaiveDateTime,
    #[diesel(embed)]
    said: Row,
}

/// A row of the log, as far as it is compared.
#[derive(QueryableByName, PartialEq, Eq)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    a: i64,
    #[diesel(sql_type = BigInt)]
    b: i64,
    #[diesel(sql_type = BigInt)]
    c: i64,
}

#[derive(QueryableByName)]
struct PositionRow {
    #[diesel(sql_type = BigInt)]
    shard: i64,
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = Datetime)]
    complete_from: NaiveDateTime,
}

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = BigInt)]
    shard: i64,
    #[diesel(sql_type = BigInt)]
    last_position: i64,
}

#[derive(QueryableByName)]
struct Partition {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = BigInt)]
    aggregate_id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

#[derive(QueryableByName)]
struct Anything {
    #[diesel(sql_type = Bool)]
    #[expect(dead_code, reason = "what matters is that the table was read")]
    there: bool,
}

/// How far the log has come in a shard.
#[derive(Clone, Copy, Default)]
struct Reach {
    position: i64,
    /// Whether it has had an event, or there never was one.
    has_begun: bool,
    complete_from: NaiveDateTime,
}

/// What must be in the log of a source.
struct Due {
    reach: PerShard<Reach>,
    /// Rows from before may have been dropped with their day.
    kept_from: NaiveDateTime,
    /// Changes whose events the log has not seen yet, by aggregate and version.
    unseen: BTreeSet<(i64, i64)>,
}

/// Checks the log, in the schema of `url`.
pub(crate) async fn check(
    url: &str,
    wallet: &mut Snapshot,
    order: &mut Snapshot,
    findings: &mut Findings,
) -> Result<()> {
    let log = open(url).await;
    let mut log = log.context("cannot read the schema activity")?;
    let kept_from = kept_from(&mut log).await?;
    // After the log, so that all that it has seen is there.
    wallet.renew().await?;
    order.renew().await?;
    for (source, snapshot) in [(&WALLET, wallet), (&ORDER, order)] {
        source.check(&mut log, kept_from, snapshot, findings).await?;
    }
    Ok(())
}

/// A snapshot that has read the log: until it ends, no day comes or goes.
async fn open(url: &str) -> Result<Snapshot> {
    const TOUCH: &str = "SELECT EXISTS(SELECT 1 FROM activity_log) AS there";
    let mut log = Snapshot::open(url).await?;
    if log.all::<Anything>(TOUCH).await.is_err() {
        // A day came or went just after the snapshot began.
        log.renew().await?;
        log.all::<Anything>(TOUCH).await?;
    }
    Ok(log)
}

/// From when on no row was dropped. The first day there is may hold older rows, but not all of them.
async fn kept_from(log: &mut Snapshot) -> Result<NaiveDateTime> {
    const FIRST: &str = "SELECT partition_name AS name FROM information_schema.partitions \
        WHERE table_schema = DATABASE() AND table_name = 'activity_log' \
        AND partition_name <> 'late' ORDER BY partition_ordinal_position LIMIT 1";
    let first: Vec<Partition> = log.all(FIRST).await?;
    let Some(first) = first.first() else { return Ok(NaiveDateTime::MIN) };
    let day = NaiveDate::parse_from_str(&first.name, "d%Y%m%d");
    Ok(day.with_context(|| format!("partition {} of activity_log", first.name))?.into())
}

impl Source {
    async fn check(
        &self,
        log: &mut Snapshot,
        kept_from: NaiveDateTime,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        let Some(reach) = self.reach(log, snapshot, findings).await? else { return Ok(()) };
        let unseen = self.unseen(&reach, snapshot).await?;
        let due = Due { reach, kept_from, unseen };
        let mut rows = log.rows::<Row>(self.rows).await?;
        let mut changes = snapshot.rows::<Change>(self.changes).await?;
        let mut row = rows.try_next().await?;
        let mut change = changes.try_next().await?;
        loop {
            let (told, made) = (row.as_ref().map(Row::key), change.as_ref().map(Change::key));
            let first = told.into_iter().chain(made).min();
            let Some(first) = first else { return Ok(()) };
            let here = row.take_if(|_| told == Some(first));
            let there = change.take_if(|_| made == Some(first));
            let holds = match (&here, &there) {
                (Some(row), Some(change)) => *row == change.said,
                (None, Some(change)) => !due.demands(self.name, change),
                // Of another change than there is, or a second one.
                _ => false,
            };
            findings.check(&self.invariant, holds, self.label(first));
            if here.is_some() {
                row = rows.try_next().await?;
            }
            if there.is_some() {
                change = changes.try_next().await?;
            }
        }
    }

    /// How far the log has come; `None` where it has not begun.
    async fn reach(
        &self,
        log: &mut Snapshot,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<Option<PerShard<Reach>>> {
        let sql = format!(
            "SELECT shard, position, complete_from FROM consumer_position WHERE source = '{}'",
            self.name
        );
        let rows: Vec<PositionRow> = log.all(sql).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let heads = snapshot.all("SELECT shard, last_position FROM outbox_shard").await?;
        let mut found = PerShard::<Option<Reach>>::default();
        for PositionRow { shard, position, complete_from } in rows {
            let of = |head: &&Head| head.shard == shard;
            let head = heads.iter().find(of).map(|head| head.last_position);
            let last = head.unwrap_or(i64::MAX);
            let known = u8::try_from(shard).ok().and_then(Shard::new);
            let holds = known.is_some() && (0..=last).contains(&position);
            findings.check(&ACTIVITY_POSITIONS, holds, format!("{} shard {shard}", self.name));
            if let Some(shard) = known {
                let has_begun = position > 0 || head == Some(0);
                found[shard] = Some(Reach { position, has_begun, complete_from });
            }
        }
        for (shard, reach) in found.iter() {
            if reach.is_none() {
                findings.offend(&ACTIVITY_POSITIONS, format!("{} shard {shard}", self.name));
            }
        }
        // Nothing is asked of a shard without a position.
        Ok(Some(PerShard::from_fn(|shard| found[shard].unwrap_or_default())))
    }

    async fn unseen(
        &self,
        reach: &PerShard<Reach>,
        snapshot: &mut Snapshot,
    ) -> Result<BTreeSet<(i64, i64)>> {
        let above = reach.iter().map(|(shard, Reach { position, .. })| {
            format!("(shard = {shard} AND (position IS NULL OR position > {position}))")
        });
        let sql = format!(
            "SELECT event_type, aggregate_id, version, payload FROM outbox WHERE {}",
            above.collect::<Vec<_>>().join(" OR ")
        );
        let mut unseen = BTreeSet::new();
        let each = |row: EventRow| {
            if row.event_type == BATCH {
                let events = batches::inner(&row.payload);
                unseen.extend(events.iter().map(|event| (event.aggregate_id, event.version)));
            } else {
                unseen.insert((row.aggregate_id, row.version));
            }
        };
        snapshot.each(sql, each).await?;
        Ok(unseen)
    }

    fn label(&self, (id, version): (i64, i64)) -> String {
        format!("{} {id} version {version}", self.name)
    }
}

impl Due {
    /// Whether this change must have its row by now.
    fn demands(&self, source: &str, change: &Change) -> bool {
        let Reach { has_begun, complete_from, .. } = self.reach[Shard::of(source, change.said.id)];
        let from = complete_from.checked_add_signed(MARGIN).unwrap_or(complete_from);
        has_begun
            && change.at >= from
            && change.at >= self.kept_from
            && !self.unseen.contains(&change.key())
    }
}

impl Change {
    fn key(&self) -> (i64, i64) {
        self.said.key()
    }
}

impl Row {
    fn key(&self) -> (i64, i64) {
        (self.id, self.version)
    }
}
