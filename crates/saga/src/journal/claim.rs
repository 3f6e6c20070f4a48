//! Which replicas live, and taking over the sagas of those that do not.
//!
//! A replica lives while its counter moves. Nobody compares wall clocks: an observer watches the counter by its own
//! monotonic clock. Taking over a saga that somebody still runs is harmless (the barrier settles it), only wasteful.

use super::Journal;
use super::readable::readable;
use super::record::{PlanId, Running, SagaRow};
use super::schema::{heartbeat, saga};
use super::switch::is_paused;
use db::{Bytes16, Conn, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// An owner whose counter stood still this long, by the observer's monotonic clock, is dead.
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// Sagas claimed in one transaction.
const BATCH: i64 = 256;

/// Sagas that changed hands.
#[derive(Debug)]
pub struct Claimed {
    /// The sagas, oldest first.
    pub sagas: Vec<Running>,
    /// Whether there may be more.
    pub more: bool,
}

/// What a heartbeat brings back.
#[derive(Debug)]
pub(crate) struct Beat {
    /// The replicas that live, this one among them.
    pub(crate) alive: HashSet<Bytes16>,
    /// Whether an operator wants no sagas taken over.
    pub(crate) paused: bool,
}

/// What one replica has seen of the others' heartbeats.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    seen: HashMap<Bytes16, (i64, Instant)>,
}

impl Pulse {
    /// The owners that are not known to be dead.
    fn alive(&mut self, beats: &[(Bytes16, i64)], now: Instant) -> HashSet<Bytes16> {
        self.seen.retain(|owner, _| beats.iter().any(|(beating, _)| beating == owner));
        for (owner, beat) in beats {
            let last = self.seen.entry(*owner).or_insert((*beat, now));
            if last.0 != *beat {
                *last = (*beat, now);
            }
        }
        let lives = |(owner, (_, at)): (&Bytes16, &(i64, Instant))| {
            (now.duration_since(*at) < DEAD_AFTER).then_some(*owner)
        };
        self.seen.iter().filter_map(lives).collect()
    }
}

impl Journal {
    /// Moves this replica's counter, and tells which replicas live.
    pub(crate) async fn beat(&self, pulse: &mut Pulse) -> Result<Beat> {
        let owner = Bytes16::from(self.owner());
        let (beats, paused): (Vec<(Bytes16, i64)>, bool) = self
            .db
            .tx(async move |conn: &mut Conn| -> Result<_> {
                let row = (
                    heartbeat::owner.eq(owner),
                    heartbeat::beat.eq(1),
                    heartbeat::started_at.eq(db::to_db(db::now_micros())),
                );
                diesel::insert_into(heartbeat::table)
                    .values(row)
                    .on_conflict(diesel::dsl::DuplicatedKeys)
                    .do_update()
                    .set(heartbeat::beat.eq(heartbeat::beat + 1))
                    .execute(conn)
                    .await?;
                let beats = heartbeat::table.select((heartbeat::owner, heartbeat::beat));
                Ok((beats.load(conn).await?, is_paused(conn).await?))
            })
            .await?;
        let mut alive = pulse.alive(&beats, Instant::now());
        alive.insert(owner);
        Ok(Beat { alive, paused })
    }

    /// Takes over unfinished sagas of these plans whose owner is not alive, `most` at most.
    pub(crate) async fn claim(
        &self,
        alive: HashSet<Bytes16>,
        plans: &[PlanId],
        most: usize,
    ) -> Result<Claimed> {
        let owner = Bytes16::from(self.owner());
        let alive: Vec<Bytes16> = alive.into_iter().collect();
        let plans = plans.to_vec();
        let batch = i64::try_from(most).map_or(BATCH, |most| most.min(BATCH));
        let sagas: Vec<Running> = self
            .db
            .tx(async move |conn: &mut Conn| -> Result<_> {
                let rows: Vec<SagaRow> = saga::table
                    .filter(saga::owner.ne_all(&alive))
                    .filter(readable(&plans))
                    .order(saga::saga_id)
                    .limit(batch)
                    .for_update()
                    .skip_locked()
                    .load(conn)
                    .await?;
                let ids: Vec<Bytes16> = rows.iter().map(|row| row.saga_id).collect();
                if !ids.is_empty() {
                    diesel::update(saga::table.filter(saga::saga_id.eq_any(ids)))
                        .set(saga::owner.eq(owner))
                        .execute(conn)
                        .await?;
                }
                Ok(rows.into_iter().map(SagaRow::into_running).collect())
            })
            .await?;
        let more = i64::try_from(sagas.len()).is_ok_and(|claimed| claimed == batch);
        Ok(Claimed { sagas, more })
    }

    /// Forgets this replica, so that another may take over at once.
    ///
    /// # Errors
    /// Those of the database; then the others wait until the counter has stood still for 5 s.
    pub async fn leave(&self) -> Result<()> {
        let owner = Bytes16::from(self.owner());
        self.db
            .tx(async move |conn: &mut Conn| -> Result<()> {
                diesel::delete(heartbeat::table.find(owner)).execute(conn).await?;
                Ok(())
            })
            .await
    }

    /// Removes the heartbeats of replicas that are dead and own nothing.
    pub(crate) async fn bury(&self, alive: HashSet<Bytes16>) -> Result<()> {
        let alive: Vec<Bytes16> = alive.into_iter().collect();
        self.db
            .tx(async move |conn: &mut Conn| -> Result<()> {
                diesel::delete(heartbeat::table.filter(heartbeat::owner.ne_all(&alive)))
                    .execute(conn)
                    .await?;
                Ok(())
            })
            .await
    }
}
