//! Which replicas live, and taking over the sagas of those that do not.
//!
//! A replica lives while its counter moves. Nobody compares wall clocks: an observer watches the counter by its own
//! monotonic clock. A saga is taken over by a plain read and an update that names its key, the old owner, and the old
//! owner's counter: what that matched is the new owner's, whatever locks may do. Taking over a saga that somebody still
//! runs is harmless (the barrier settles it), only wasteful.

use super::Journal;
use super::readable::readable;
use super::record::{PlanId, Running, SagaRow};
use super::schema::{heartbeat, saga};
use super::switch::is_paused;
use db::{Bytes16, Conn, Db, Error, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// An owner whose counter stood still this long, by the observer's monotonic clock, is dead.
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// Sagas that are claimed in one transaction at most.
pub(crate) const CLAIMED_AT_ONCE: usize = 256;

/// What a heartbeat brings back.
#[derive(Debug)]
pub(crate) struct Beat {
    /// The replicas that live, this one among them.
    pub(crate) alive: HashSet<Bytes16>,
    /// The counters at which the others stand still.
    pub(crate) dead: HashMap<Bytes16, i64>,
    /// Whether an operator wants no sagas taken over.
    pub(crate) paused: bool,
}

/// What one replica has seen of the others' heartbeats.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    seen: HashMap<Bytes16, (i64, Instant)>,
}

impl Pulse {
    /// The owners that are not known to be dead, and the counters of those that are.
    fn take_in(
        &mut self,
        beats: &[(Bytes16, i64)],
        now: Instant,
    ) -> (HashSet<Bytes16>, HashMap<Bytes16, i64>) {
        self.seen.retain(|owner, _| beats.iter().any(|(beating, _)| beating == owner));
        for (owner, beat) in beats {
            let last = self.seen.entry(*owner).or_insert((*beat, now));
            if last.0 != *beat {
                *last = (*beat, now);
            }
        }
        let lives = |at: Instant| now.duration_since(at) < DEAD_AFTER;
        let (mut alive, mut dead) = (HashSet::new(), HashMap::new());
        for (owner, (beat, at)) in &self.seen {
            if lives(*at) {
                alive.insert(*owner);
            } else {
                dead.insert(*owner, *beat);
            }
        }
        (alive, dead)
    }
}

impl Journal {
    /// Moves this replica's counter, and tells which replicas live.
    pub(crate) async fn beat(&self, pulse: &mut Pulse) -> Result<Beat> {
        let owner = Bytes16::from(self.owner());
        let (beats, paused): (Vec<(Bytes16, i64)>, bool) = self
            .db
            .tx(async move |conn: &mut Conn| -> Result<_> {
                beat(conn, owner).await?;
                let beats = heartbeat::table.select((heartbeat::owner, heartbeat::beat));
                Ok((beats.load(conn).await?, is_paused(conn).await?))
            })
            .await?;
        let (mut alive, mut dead) = pulse.take_in(&beats, Instant::now());
        alive.insert(owner);
        dead.remove(&owner);
        Ok(Beat { alive, dead, paused })
    }

    /// Unfinished sagas of these plans above this id whose owner is not alive, oldest first, `most` at most. Some of them this
    /// program may be unable to run.
    pub(crate) async fn ownerless(
        &self,
        beat: &Beat,
        plans: &[PlanId],
        above: SagaId,
        most: usize,
    ) -> Result<Vec<Running>> {
        let alive: Vec<Bytes16> = beat.alive.iter().copied().collect();
        let plans = plans.to_vec();
        let most = i64::try_from(most)
            .map_err(|_| Error::Corrupt(format!("{most} sagas in one statement")))?;
        self.db
            .read(async move |conn: &mut Conn| -> Result<_> {
                let rows: Vec<SagaRow> = saga::table
                    .filter(saga::owner.ne_all(&alive))
                    .filter(readable(&plans))
                    .filter(saga::saga_id.gt(Bytes16(above.0)))
                    .order(saga::saga_id)
                    .limit(most)
                    .load(conn)
                    .await?;
                Ok(rows.into_iter().map(SagaRow::into_running).collect())
            })
            .await
    }

    /// Takes over these sagas, [`CLAIMED_AT_ONCE`] at most. Tells which are this replica's now: those whose owner is still the
    /// one that was read, and has not moved its counter since.
    pub(crate) async fn claim(&self, beat: &Beat, sagas: &[Running]) -> Result<Vec<Running>> {
        if sagas.is_empty() {
            return Ok(Vec::new());
        }
        let owner = Bytes16::from(self.owner());
        let dead = beat.dead.clone();
        let ids: Vec<Bytes16> = sagas.iter().map(|it| Bytes16(it.start.saga.0)).collect();
        let mut by_owner: BTreeMap<Bytes16, Vec<Bytes16>> = BTreeMap::new();
        for (running, id) in sagas.iter().zip(&ids) {
            by_owner.entry(running.owner.into()).or_default().push(*id);
        }
        let rows: Vec<SagaRow> = self
            .db
            .tx(async move |conn: &mut Conn| -> Result<_> {
                for (old, sagas) in by_owner.clone() {
                    take_over(conn, sagas, (old, dead.get(&old).copied()), owner).await?;
                }
                let own = saga::table
                    .filter(saga::saga_id.eq_any(&ids))
                    .filter(saga::owner.eq(owner))
                    .order(saga::saga_id);
                Ok(own.load(conn).await?)
            })
            .await?;
        Ok(rows.into_iter().map(SagaRow::into_running).collect())
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

    /// Removes the heartbeats of replicas that are dead. One that was only slow makes its row again.
    pub(crate) async fn bury(&self, dead: &HashMap<Bytes16, i64>) -> Result<()> {
        for (owner, beat) in dead {
            let (owner, beat) = (*owner, *beat);
            let buried = self.db.tx(async move |conn: &mut Conn| -> Result<()> {
                let row = heartbeat::table.find(owner).filter(heartbeat::beat.eq(beat));
                let free = row.select(heartbeat::beat).for_update().no_wait();
                let free: QueryResult<i64> = free.get_result(conn).await;
                match free.optional().map_err(Error::from) {
                    Ok(None) => return Ok(()),
                    // A frozen START holds it, as long as the server lets it.
                    Err(error) if error.is_lock_timeout() => return Ok(()),
                    Err(error) => return Err(error),
                    Ok(Some(_)) => {}
                }
                diesel::delete(heartbeat::table.find(owner)).execute(conn).await?;
                Ok(())
            });
            buried.await?;
        }
        Ok(())
    }
}

/// Makes the heartbeat row of a replica that has none.
pub(super) async fn join(db: &Db, owner: Bytes16) -> Result<()> {
    db.tx(async move |conn: &mut Conn| beat(conn, owner).await).await
}

async fn beat(conn: &mut Conn, owner: Bytes16) -> Result<()> {
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
    Ok(())
}

/// Makes these sagas the new owner's if they are still the old one's and that one has not moved its counter since; one
/// without a heartbeat must still have none.
async fn take_over(
    conn: &mut Conn,
    mut sagas: Vec<Bytes16>,
    (old, beat): (Bytes16, Option<i64>),
    new: Bytes16,
) -> Result<()> {
    sagas.sort_unstable();
    let moved = heartbeat::table
        .filter(heartbeat::owner.eq(old))
        .filter(heartbeat::beat.ne(beat.unwrap_or(-1)));
    diesel::update(saga::table)
        .filter(saga::saga_id.eq_any(sagas))
        .filter(saga::owner.eq(old))
        .filter(diesel::dsl::not(diesel::dsl::exists(moved)))
        .set(saga::owner.eq(new))
        .execute(conn)
        .await?;
    Ok(())
}
