//! How far time has certainly come: the record against which a clock that has run away is noticed.

use super::reading::plus;
use crate::{Conn, Result};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::{Duration, Instant};

/// A clock may be ahead of what the record and the monotonic clock allow by so much.
const SLACK: TimeDelta = TimeDelta::hours(1);
/// A clock that stays ahead is believed after so much time that replicas have watched it.
const BELIEVED_AFTER: TimeDelta = TimeDelta::hours(24);
/// Replicas do not read the clock in the order in which they write down what they read.
const DISORDER: TimeDelta = TimeDelta::minutes(1);

/// The one row of the table.
const ROW: i8 = 1;

diesel::table! {
    clock_mark (id) {
        id -> TinyInt,
        mark_at -> Datetime,
        era -> BigInt,
        ahead_at -> Nullable<Datetime>,
        ahead_for -> BigInt,
        actor -> VarChar,
        reason -> VarChar,
        accepted_at -> Nullable<Datetime>,
    }
}

/// The record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// It is at least that late.
    pub(super) at: DateTime<Utc>,
    /// Grows whenever another clock is believed than before.
    pub(super) era: i64,
    pub(super) ahead: Option<Ahead>,
}

/// A clock that has run away, as long as it is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// What it showed last.
    pub(super) at: DateTime<Utc>,
    /// For how long it has been watched.
    pub(super) watched: TimeDelta,
}

/// What the record says of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be believed.
    Credible,
    /// It has run away by so much, and is believed after so much more time.
    RunAway { by: TimeDelta, believed_in: TimeDelta },
}

/// What one process has seen, by its monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Witness {
    era: i64,
    from: DateTime<Utc>,
    since: Instant,
    last: Instant,
}

impl Witness {
    /// How late it is now if it was right then.
    fn now(&self, at: Instant) -> DateTime<Utc> {
        plus(self.from, at.saturating_duration_since(self.since))
    }
}

/// Compares a clock with the record, and says how that goes on. `expected`: what it should show by the monotonic clock of
/// a process that has seen it before; `watched`: the time since that process last looked, none at its first look.
fn judge(
    mark: Mark,
    now: DateTime<Utc>,
    expected: Option<DateTime<Utc>>,
    watched: Option<TimeDelta>,
) -> (Mark, Standing) {
    // A clock that went back makes everything younger, which is always safe. Did the mark stay, it would let the clock
    // run ahead up to there unnoticed.
    if now < mark.at - SLACK {
        return (Mark { at: now, era: mark.era + 1, ahead: None }, Standing::Credible);
    }
    let expected = expected.unwrap_or(mark.at);
    if now <= expected + SLACK {
        return (Mark { at: mark.at.max(now), ahead: None, ..mark }, Standing::Credible);
    }
    let goes_on = |ahead: &Ahead| {
        let most = watched.map(|watched| ahead.at + watched + SLACK);
        now >= ahead.at - DISORDER && most.is_none_or(|most| now <= most)
    };
    // Several replicas watch at once, and no time may count twice: it counts as far as the clock has come since any looked.
    let (ahead, counted) = match mark.ahead.filter(goes_on) {
        Some(ahead) => {
            let come = (now - ahead.at).max(TimeDelta::zero());
            let counted = watched.map_or(TimeDelta::zero(), |watched| watched.min(come));
            (Ahead { at: ahead.at.max(now), watched: ahead.watched + counted }, counted)
        }
        None => (Ahead { at: now, watched: TimeDelta::zero() }, TimeDelta::zero()),
    };
    if ahead.watched >= BELIEVED_AFTER {
        return (Mark { at: now, era: mark.era + 1, ahead: None }, Standing::Credible);
    }
    let standing =
        Standing::RunAway { by: now - expected, believed_in: BELIEVED_AFTER - ahead.watched };
    (Mark { at: (mark.at + counted).min(now), ahead: Some(ahead), ..mark }, standing)
}

/// Compares a clock that shows `now` with the record and writes down how that goes on, in the open transaction. A schema
/// without a record begins one.
pub(super) async fn observe(
    conn: &mut Conn,
    witness: Option<Witness>,
    now: DateTime<Utc>,
    at: Instant,
) -> Result<(Witness, Standing)> {
    let row = clock_mark::table
        .find(ROW)
        .select((clock_mark::mark_at, clock_mark::era, clock_mark::ahead_at, clock_mark::ahead_for))
        .for_update();
    let found: Option<(NaiveDateTime, i64, Option<NaiveDateTime>, i64)> =
        row.first(conn).await.optional()?;
    let Some((mark_at, era, ahead_at, ahead_for)) = found else {
        begin(conn, now).await?;
        return Ok((Witness { era: 0, from: now, since: at, last: at }, Standing::Credible));
    };
    let ahead = ahead_at.map(|ahead_at| Ahead {
        at: crate::from_db(ahead_at),
        watched: TimeDelta::microseconds(ahead_for),
    });
    let mark = Mark { at: crate::from_db(mark_at), era, ahead };
    let of_this_era = witness.filter(|witness| witness.era == era);
    let watched = witness.map(|witness| at.saturating_duration_since(witness.last));
    let watched = watched.map(|watched| TimeDelta::from_std(watched).unwrap_or(TimeDelta::MAX));
    let expected = of_this_era.map(|witness| witness.now(at));
    let (next, standing) = judge(mark, now, expected, watched);
    diesel::update(clock_mark::table.find(ROW))
        .set((
            clock_mark::mark_at.eq(crate::to_db(next.at)),
            clock_mark::era.eq(next.era),
            clock_mark::ahead_at.eq(next.ahead.map(|ahead| crate::to_db(ahead.at))),
            clock_mark::ahead_for
                .eq(next.ahead.and_then(|it| it.watched.num_microseconds()).unwrap_or(0)),
        ))
        .execute(conn)
        .await?;
    let witness = match of_this_era.filter(|_| next.era == era) {
        Some(witness) => Witness { last: at, ..witness },
        // What time it was when this process first looked is the record's word, not the clock's.
        None => Witness { era: next.era, from: next.at, since: at, last: at },
    };
    Ok((witness, standing))
}

async fn begin(conn: &mut Conn, now: DateTime<Utc>) -> Result<()> {
    let row = (
        clock_mark::id.eq(ROW),
        clock_mark::mark_at.eq(crate::to_db(now)),
        clock_mark::era.eq(0),
        clock_mark::ahead_for.eq(0),
        clock_mark::actor.eq(""),
        clock_mark::reason.eq(""),
    );
    diesel::insert_into(clock_mark::table).values(row).execute(conn).await?;
    Ok(())
}

/// The record of a schema, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockRecord {
    /// It is at least that late, by what purges saw.
    pub at: DateTime<Utc>,
    /// What a clock shows that has run away, and for how long it has been watched: while there is one, nothing is purged.
    pub ahead: Option<(DateTime<Utc>, Duration)>,
    /// Who said last that the database's clock is right; empty when nobody ever did.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, by that clock.
    pub accepted_at: Option<DateTime<Utc>>,
}

type Columns = (NaiveDateTime, Option<NaiveDateTime>, i64, String, String, Option<NaiveDateTime>);

/// The record; none where no purge has begun one.
pub(super) async fn read(conn: &mut Conn) -> Result<Option<ClockRecord>> {
    let row: Option<Columns> = clock_mark::table
        .find(ROW)
        .select((
            clock_mark::mark_at,
            clock_mark::ahead_at,
            clock_mark::ahead_for,
            clock_mark::actor,
            clock_mark::reason,
            clock_mark::accepted_at,
        ))
        .first(conn)
        .await
        .optional()?;
    Ok(row.map(|(at, ahead_at, ahead_for, actor, reason, accepted_at)| ClockRecord {
        at: crate::from_db(at),
        ahead: ahead_at.map(|ahead_at| {
            let watched = TimeDelta::microseconds(ahead_for).to_std().unwrap_or_default();
            (crate::from_db(ahead_at), watched)
        }),
        actor,
        reason,
        accepted_at: accepted_at.map(crate::from_db),
    }))
}

/// Believes the clock that shows `now`, ahead of the record or behind it, because an operator says so.
pub(super) async fn accept(
    conn: &mut Conn,
    now: DateTime<Utc>,
    actor: &str,
    reason: &str,
) -> Result<()> {
    let row = clock_mark::table.find(ROW).select(clock_mark::era).for_update();
    let era: Option<i64> = row.first(conn).await.optional()?;
    if era.is_none() {
        begin(conn, now).await?;
    }
    diesel::update(clock_mark::table.find(ROW))
        .set((
            clock_mark::mark_at.eq(crate::to_db(now)),
            clock_mark::era.eq(era.unwrap_or(0) + 1),
            clock_mark::ahead_at.eq(None::<NaiveDateTime>),
            clock_mark::ahead_for.eq(0),
            clock_mark::actor.eq(actor),
            clock_mark::reason.eq(reason),
            clock_mark::accepted_at.eq(crate::to_db(now)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
