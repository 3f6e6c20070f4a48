//! Appends events to the log as they come.

use crate::CONSUMER;
use crate::domain::{Entry, Source};
use crate::store::{self, Step};
use crate::wire;
use async_trait::async_trait;
use db::{Conflict, Db, Error, Script, Session};
use events::{Batch, Bus, Delivered, Failure, Handler, Positions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::info;

/// Least time between two beginnings: the bus replays everything that the outbox retains, which must not become its only
/// work while something keeps dropping events, such as an older program that does not know this consumer.
const BETWEEN_BEGINNINGS: Duration = Duration::from_secs(30);

/// The handler of one source's events.
pub struct Log {
    db: Db,
    bus: Arc<dyn Bus>,
    source: Source,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Whether events may come that are in the log already.
    repeats: bool,
    began: Option<Instant>,
}

impl Log {
    /// Logs what the bus of `source` brings, in the schema of `db`.
    pub fn new(db: Db, bus: Arc<dyn Bus>, source: Source) -> Self {
        Self { db, bus, source, state: Mutex::default() }
    }

    /// Has the bus bring everything that the outbox retains.
    async fn replay(&self, state: &mut State) -> Result<(), Failure> {
        if let Some(began) = state.began {
            // It would not live that long.
            state.session = None;
            tokio::time::sleep_until(began + BETWEEN_BEGINNINGS).await;
        }
        state.began = Some(Instant::now());
        self.bus.rewind(CONSUMER).await.map_err(later)?;
        info!(source = self.source.name(), "logging everything that the outbox retains");
        Ok(())
    }

    async fn write(
        &self,
        session: &mut Session,
        steps: &[Step],
        entries: &[Entry],
    ) -> Result<(), Error> {
        store::advance(session.conn(), self.source, steps).await?;
        let last = store::append(session.conn(), entries).await?;
        session.commit(last).await
    }

    /// The same where some may be in the log already. Tells whether any was.
    async fn write_missing(
        &self,
        session: &mut Session,
        steps: &[Step],
        entries: &[Entry],
    ) -> Result<bool, Error> {
        store::advance(session.conn(), self.source, steps).await?;
        let known = store::known(session.conn(), entries).await?;
        let missing: Vec<Entry> =
            entries.iter().filter(|entry| !known.contains(&entry.event_id)).cloned().collect();
        let last = store::append(session.conn(), &missing).await?;
        session.commit(last).await?;
        Ok(!known.is_empty())
    }
}

impl State {
    async fn session(&mut self, db: &Db) -> Result<&mut Session, Error> {
        match &mut self.session {
            Some(session) => Ok(session),
            none => Ok(none.insert(db.session().await?)),
        }
    }

    /// Ends what an error left open.
    async fn give_up(&mut self, error: &Error) {
        let Some(session) = &mut self.session else { return };
        if !error.is_conflict() || session.rollback().await.is_err() {
            self.session = None;
        }
    }

    /// Runs the work on the session, and sees that a failure leaves none in a transaction.
    async fn on_session<T>(
        &mut self,
        db: &Db,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let result = match self.session(db).await {
            Ok(session) => work(session).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            self.give_up(error).await;
        }
        result
    }
}

#[async_trait]
impl Handler for Log {
    async fn positions(&self) -> Result<Positions, Failure> {
        let mut state = self.state.lock().await;
        let source = self.source;
        let stored = state.on_session(&self.db, async |session| {
            let positions = store::positions(session.conn(), source).await?;
            session.rollback().await?;
            Ok(positions)
        });
        if let Some(positions) = stored.await.map_err(later)? {
            return Ok(positions);
        }
        self.replay(&mut state).await?;
        let begun = state.on_session(&self.db, async |session| {
            let mut writes = Script::default();
            store::begin(&mut writes, source)?;
            session.commit(writes).await
        });
        match begun.await {
            Ok(()) => Ok(Positions::default()),
            // Another replica has begun.
            Err(Error::Conflict(Conflict::Duplicate(_))) => Err(Failure::Moved),
            Err(error) => Err(later(error)),
        }
    }

    async fn apply(&self, batches: &[Batch]) -> Result<(), Failure> {
        let mut steps = Vec::with_capacity(batches.len());
        let mut entries = Vec::new();
        for batch in batches {
            let read = read(self.source, batch)?;
            steps.push(step(batch, read.first()));
            entries.extend(read);
        }
        // In the order of the key, as all who write here.
        entries.sort_unstable_by_key(|entry| (entry.occurred_at, entry.event_id));
        let mut state = self.state.lock().await;
        if !state.repeats {
            let written = state
                .on_session(&self.db, async |session| self.write(session, &steps, &entries).await);
            match written.await {
                Err(Error::Conflict(Conflict::Duplicate(_))) => state.repeats = true,
                other => return other.map_err(failure),
            }
        }
        let written = state.on_session(&self.db, async |session| {
            self.write_missing(session, &steps, &entries).await
        });
        state.repeats = written.await.map_err(failure)?;
        Ok(())
    }

    async fn start_over(&self) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        // In this order: cut off in between, the stored positions still lead on in what is replayed.
        self.replay(&mut state).await?;
        let source = self.source;
        let rewound = state.on_session(&self.db, async |session| {
            store::rewind(session.conn(), source).await?;
            session.commit(Script::default()).await
        });
        rewound.await.map_err(later)
    }
}

fn read(source: Source, batch: &Batch) -> Result<Vec<Entry>, Failure> {
    let entry = |event: &Delivered| {
        let (shard, position, index) = (batch.shard, event.position, event.index);
        wire::entry(source, &event.envelope).map_err(|reason| Failure::Poison {
            shard,
            position,
            index,
            reason,
        })
    };
    batch.events.iter().map(entry).collect()
}

/// A log that begins in the middle says so, for whoever compares it.
fn step(batch: &Batch, first: Option<&Entry>) -> Step {
    let Batch { shard, after, through, .. } = *batch;
    let begins = batch.events.first().map_or(through, |event| event.position);
    let complete_from = (after == 0 && begins > 1)
        .then(|| first.map_or_else(db::now_micros, |entry| entry.occurred_at));
    Step { shard, after, through, complete_from }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Conflict(Conflict::ShortCount { .. }) => Failure::Moved,
        other => later(other),
    }
}

fn later(error: impl std::fmt::Display) -> Failure {
    Failure::Later(error.to_string())
}
