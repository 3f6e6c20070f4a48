//! The relay: from a schema's outbox to its bus, in order, each event under a number that it keeps for ever.
//!
//! A cycle is one transaction and then one publication. The transaction locks the shards that nobody else holds, notes
//! what the bus has, numbers what was committed since, and reads what the bus lacks. The numbers are durable before
//! anything is published under them. Publishing is a compare-and-append on the stream's top, so two relays, a repeat or
//! a relay that was frozen for an hour can neither double nor reorder events, nor leave one out.
//!
//! What the bus has is asked of the bus each time and not remembered: a stream that lost its end or everything is
//! refilled from the outbox in the same way in which new events reach it.

use crate::bus::{self, Append, Bus, StreamState};
use crate::numbering::{self, Ledger};
use crate::{PerShard, Shard};
use db::{Conn, Db, Script, Session};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How a relay goes about it.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Least time between two cycles that do not follow a full one: gathers events into fewer commits.
    pub gather: Duration,
    /// How long it rests after a cycle that found something, unless the bell rings.
    pub active: Duration,
    /// How long it rests after a cycle that found nothing, unless the bell rings.
    pub idle: Duration,
    /// Rows of one shard in one cycle, 1 to 4,096. A row tells at most 64 events.
    pub batch: u16,
    /// Rows of one shard that a bus which holds back may have beyond what its slowest consumer has acknowledged.
    pub window: i64,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            gather: Duration::from_millis(100),
            active: Duration::from_millis(100),
            idle: Duration::from_millis(250),
            batch: 128,
            window: 2_000,
        }
    }
}

/// Tells a relay of the same process that there are new events, so that it need not find out by itself.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Rings; to be called after a commit. Ringing twice before the relay looks is ringing once.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// The relay of one schema.
pub struct Relay {
    db: Db,
    bus: Arc<dyn Bus>,
    bell: Bell,
    options: RelayOptions,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

/// What a cycle found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
    AllItCouldCarry,
}

/// Pause after a failure, doubled up to [`MAX_PAUSE`] while failures go on.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

impl Relay {
    /// A relay from the schema of `db` to `bus`, woken by `bell`.
    pub fn new(db: Db, bus: Arc<dyn Bus>, bell: Bell, options: RelayOptions) -> Self {
        Self { db, bus, bell, options }
    }

    /// Relays until cancelled, over any failure of the database and the bus.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.relay()).await;
    }

    async fn relay(&self) {
        let mut session = None;
        let mut pause = MIN_PAUSE;
        loop {
            let started = Instant::now();
            match self.cycle(&mut session).await {
                Ok(Found::AllItCouldCarry) => pause = MIN_PAUSE,
                Ok(found) => {
                    pause = MIN_PAUSE;
                    self.rest(found, started).await;
                }
                Err(error) => {
                    warn!(%error, pause_ms = pause.as_millis(), "events were not relayed; trying again");
                    session = None;
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    async fn rest(&self, found: Found, started: Instant) {
        let rest = if found == Found::Nothing { self.options.idle } else { self.options.active };
        // Elapsed or rung, the next cycle looks for itself.
        let _ = timeout(rest, self.bell.0.notified()).await;
        tokio::time::sleep_until(started + self.options.gather).await;
    }

    async fn cycle(&self, session: &mut Option<Session>) -> Result<Found, Error> {
        // The bus before the database: what it has was numbered before, so its tops cannot be ahead of the outbox.
        let state = self.bus.state().await?;
        let session = match session {
            Some(session) => session,
            None => session.insert(self.db.session().await?),
        };
        let ledgers = numbering::survey(session.conn()).await?;
        if let Some((shard, _)) =
            ledgers.iter().find(|(shard, ledger)| state.shards[*shard].top > ledger.last)
        {
            error!(%shard, "the bus holds events that this outbox never numbered; refilling it");
            session.rollback().await?;
            self.bus.reset(&state.generation).await?;
            return Ok(Found::AllItCouldCarry);
        }
        let due: Vec<Shard> = ledgers
            .iter()
            .filter(|(shard, ledger)| self.is_due(ledger, &state.shards[*shard]))
            .map(|(shard, _)| shard)
            .collect();
        if due.is_empty() {
            session.rollback().await?;
            return Ok(Found::Nothing);
        }
        let appends = self.take(session.conn(), &due, &ledgers, &state.shards).await?;
        session.commit(Script::default()).await?;
        let full = usize::from(self.options.batch);
        let found = match appends.iter().map(|append| append.messages.len()).max() {
            Some(most) if most >= full => Found::AllItCouldCarry,
            _ => Found::Something,
        };
        let refilled: usize = appends
            .iter()
            .filter(|append| append.after < ledgers[append.shard].published)
            .map(|append| append.messages.len())
            .sum();
        if refilled > 0 {
            info!(messages = refilled, "refilling the bus, which lost events, from the outbox");
        }
        self.bus.publish(&state.generation, appends).await?;
        Ok(found)
    }

    fn is_due(&self, ledger: &Ledger, stream: &StreamState) -> bool {
        let behind = stream.top < ledger.last && self.room(stream) > 0;
        ledger.waiting
            || behind
            || ledger.published != stream.top
            || stream.head != Some(ledger.last)
    }

    fn room(&self, stream: &StreamState) -> i64 {
        if !self.bus.holds_back() {
            return i64::from(self.options.batch);
        }
        let ahead = stream.acknowledged.map_or(0, |done| stream.top.saturating_sub(done));
        self.options.window.saturating_sub(ahead).clamp(0, i64::from(self.options.batch))
    }

    async fn take(
        &self,
        conn: &mut Conn,
        due: &[Shard],
        surveyed: &PerShard<Ledger>,
        streams: &PerShard<StreamState>,
    ) -> Result<Vec<Append>, Error> {
        let mut owned = numbering::lock(conn, due).await?;
        let waiting: Vec<Shard> =
            owned.keys().copied().filter(|shard| surveyed[*shard].waiting).collect();
        let fresh = numbering::unnumbered(conn, &waiting, self.options.batch.into()).await?;
        let known: BTreeMap<Shard, i64> =
            owned.iter().map(|(shard, ledger)| (*shard, ledger.last)).collect();
        numbering::number(conn, &mut owned, &fresh).await?;
        for (shard, ledger) in &mut owned {
            ledger.published = streams[*shard].top.min(ledger.last);
        }
        numbering::record(conn, &owned).await?;
        let wanted: Vec<(Shard, i64, i64)> = owned
            .iter()
            .map(|(shard, ledger)| (*shard, ledger, &streams[*shard]))
            .filter(|(_, ledger, stream)| stream.top < ledger.last && self.room(stream) > 0)
            .map(|(shard, _, stream)| (shard, stream.top, self.room(stream)))
            .collect();
        // Mostly a stream lacks what got its numbers just now, and nothing else: no need to read that again.
        let (at_hand, in_table): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|(shard, top, _)| known.get(shard) == Some(top));
        let mut messages = numbering::numbered(conn, &in_table).await?;
        messages.extend(numbering::just_numbered(fresh, &at_hand));
        let append = |(shard, ledger): (&Shard, &Ledger)| {
            let after = streams[*shard].top;
            let asked = wanted.iter().any(|(wanted, ..)| wanted == shard);
            let messages = messages.remove(shard).unwrap_or_default();
            let through = match messages.last() {
                Some(last) => last.position,
                // Purged: the outbox has nothing left that leads to its head.
                None if asked => ledger.last,
                None => after,
            };
            Append { shard: *shard, after, through, head: ledger.last, messages }
        };
        Ok(owned.iter().map(append).collect())
    }
}
