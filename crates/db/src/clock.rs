//! No wall clock destroys or refuses by itself: what a process may conclude from its clock and the database's.
//!
//! - **Age.** How old an instant is, is the smaller of what both clocks say.
//! - **Off.** A process whose clock differs from the database's by 5 s deletes nothing and says so; by 60 s it is not
//!   ready, unless it is the database's clock that is wrong: the process's monotonic clock says so, or all other replicas
//!   differ alike.
//! - **Run away.** Both may be wrong, such as on one machine. So each schema keeps a record of how late it certainly is. A
//!   clock that is ahead of it by more than an hour and the time that monotonic clocks have seen pass since is not believed
//!   for a day, or until an operator says that it is right (`commerce clock accept`).
//! - **Dates.** What is written is dated by [`now_micros`], which a clock that was set wrong does not disturb.

mod mark;
mod reading;
mod reference;
mod replicas;

pub use mark::ClockRecord;
pub use reference::{new_id, now_micros};

use crate::{Conn, Db, Error, Result};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use diesel_async::RunQueryDsl;
use mark::{Standing, Witness};
use reading::Reading;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// From here on a clock is off: it is not trusted to delete.
const OFF: TimeDelta = TimeDelta::seconds(5);
/// From here on nothing is to be asked of a process that has it.
const UNUSABLE: TimeDelta = TimeDelta::seconds(60);
/// How often the database's clock is read.
const EVERY: Duration = Duration::from_secs(2);
/// Every how many readings the others are told, and the record goes on.
const TOLD_EVERY: u32 = 5;
/// Every how many readings an alert is repeated.
const ALERT_EVERY: u32 = 30;
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A reading that is older says too little to delete by.
const FRESH: Duration = Duration::from_mins(1);

/// What this process knows of the clock of one schema's database. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    db: Db,
}

/// What stands in [`Db`].
#[derive(Default)]
pub(crate) struct State {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    reading: Option<Reading>,
    others_alike: bool,
    witness: Option<Witness>,
}

impl Clock {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// How far this process's clock is ahead of the database's, at least; negative: behind; zero: they may be equal. `None`
    /// before the first reading and a minute after the last.
    pub fn offset(&self) -> Option<TimeDelta> {
        let (reading, at) = (self.lock().reading?, Instant::now());
        (reading.age(at) < FRESH).then(|| reading.offset(Utc::now(), at))
    }

    /// Whether the clock is known to be within 5 s of the database's.
    pub fn is_trusted_to_delete(&self) -> bool {
        self.offset().is_some_and(|offset| !is_off(offset, OFF))
    }

    /// Whether this process may be asked anything, as far as its clock is concerned: it is not off by 60 s, or it is the
    /// database's that is wrong. Also where nothing is known of the database's, whose absence is not the clock's fault.
    pub fn is_ready(&self) -> bool {
        let unusable = self.offset().is_some_and(|offset| is_off(offset, UNUSABLE));
        let others_alike = self.lock().others_alike;
        !unusable || others_alike || reference::is_the_databases(Utc::now(), Instant::now())
    }

    /// The earlier of what both clocks show, from which ages are counted; `None` before the first reading.
    pub fn earlier_now(&self) -> Option<DateTime<Utc>> {
        let reading = self.lock().reading?;
        Some(reading.now(Instant::now()).min(Utc::now()))
    }

    /// Reads the database's clock.
    ///
    /// # Errors
    /// Those of the database; what was known stays known.
    pub async fn measure(&self) -> Result<()> {
        let read = self.db.read(async |conn: &mut Conn| -> Result<Reading> {
            let sent = Instant::now();
            let clock = diesel::dsl::sql::<diesel::sql_types::Datetime>("UTC_TIMESTAMP(6)");
            let database: NaiveDateTime = diesel::select(clock).get_result(conn).await?;
            Ok(Reading { database: crate::from_db(database), sent, got: Instant::now() })
        });
        let reading = tokio::time::timeout(PATIENCE, read).await.map_err(|_| Error::Busy)??;
        let mut inner = self.lock();
        inner.reading = Some(reading);
        reference::take_in(&reading, Utc::now(), Instant::now(), inner.others_alike);
        Ok(())
    }

    /// The instant before which everything is older than `retention`, by all that is known; `None`, with an alert, while
    /// nothing may be deleted.
    ///
    /// # Errors
    /// Those of the database: then nothing is known, and nothing may be deleted.
    pub async fn cutoff(&self, retention: Duration) -> Result<Option<DateTime<Utc>>> {
        self.measure().await?;
        if !self.is_trusted_to_delete() {
            let off_by_seconds = self.offset().map(|offset| offset.num_seconds());
            tracing::error!(
                off_by_seconds,
                "clock differs from the database's: nothing is deleted"
            );
            return Ok(None);
        }
        let Some(now) = self.earlier_now() else { return Ok(None) };
        if let Standing::RunAway { by, believed_in } = self.observe(now).await? {
            tracing::error!(
                ahead_by_seconds = by.num_seconds(),
                believed_in_seconds = believed_in.num_seconds(),
                "clock is ahead of what is on record: nothing is deleted; if it is right: commerce clock accept"
            );
            return Ok(None);
        }
        Ok(TimeDelta::from_std(retention).ok().and_then(|span| now.checked_sub_signed(span)))
    }

    /// Watches the clock until cancelled: alerts while it is off, tells the other replicas, keeps the record going.
    pub async fn run(self, cancel: CancellationToken) {
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            let mut was_off = false;
            for round in 0_u32.. {
                due.tick().await;
                let is_off = match self.measure().await {
                    Ok(()) => !self.is_trusted_to_delete(),
                    Err(error) => {
                        tracing::debug!(%error, "the database's clock was not read");
                        continue;
                    }
                };
                if is_off && (!was_off || round.is_multiple_of(ALERT_EVERY)) {
                    let off_by_seconds = self.offset().map(|offset| offset.num_seconds());
                    tracing::error!(off_by_seconds, "clock differs from the database's: set it");
                }
                let is_due = is_off != was_off || round.is_multiple_of(TOLD_EVERY);
                if is_due && let Err(error) = self.look_around(!is_off).await {
                    tracing::warn!(%error, "clock not compared with the other replicas'");
                }
                was_off = is_off;
            }
        };
        cancel.run_until_cancelled(rounds).await;
    }

    /// The schema's record of time; none where nothing was ever purged.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn record(&self) -> Result<Option<ClockRecord>> {
        self.db.read(async |conn: &mut Conn| mark::read(conn).await).await
    }

    /// Believes the database's clock from now on, wherever it stands, because an operator says so.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn accept(&self, actor: &str, reason: &str) -> Result<()> {
        self.measure().await?;
        let reading = self.lock().reading.ok_or(Error::Busy)?;
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        self.db
            .tx(async move |conn: &mut Conn| -> Result<()> {
                mark::accept(conn, reading.database, &actor, &reason).await
            })
            .await
    }

    /// Tells the other replicas how this clock stands, hears how theirs do, and lets the record go on if it may.
    async fn look_around(&self, trusted: bool) -> Result<()> {
        let Some(own) = self.offset() else { return Ok(()) };
        let heard = self.db.tx(async move |conn: &mut Conn| replicas::exchange(conn, own).await);
        let others = tokio::time::timeout(PATIENCE, heard).await.map_err(|_| Error::Busy)??;
        self.lock().others_alike = replicas::are_alike(own, &others);
        let pruned = self.db.read(async |conn: &mut Conn| replicas::prune(conn).await);
        tokio::time::timeout(PATIENCE, pruned).await.map_err(|_| Error::Busy)??;
        if let Some(now) = self.earlier_now().filter(|_| trusted) {
            self.observe(now).await?;
        }
        Ok(())
    }

    async fn observe(&self, now: DateTime<Utc>) -> Result<Standing> {
        let (witness, at) = (self.lock().witness, Instant::now());
        let observed = self.db.tx(async move |conn: &mut Conn| -> Result<(Witness, Standing)> {
            mark::observe(conn, witness, now, at).await
        });
        let (witness, standing) =
            tokio::time::timeout(PATIENCE, observed).await.map_err(|_| Error::Busy)??;
        self.lock().witness = Some(witness);
        Ok(standing)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.db.clock_state().inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a clock differs by so much, in whichever direction.
fn is_off(offset: TimeDelta, limit: TimeDelta) -> bool {
    offset.abs() >= limit
}
