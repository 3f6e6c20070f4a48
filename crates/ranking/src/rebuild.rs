//! Counting afresh: all events that the outbox retains are replayed into a new generation, which takes the place of the
//! served one when it has seen everything that had been numbered before. Reads go on meanwhile.

use crate::CONSUMER;
use crate::counter::change;
use crate::domain::Change;
use crate::store::{self, Generation, Portion, Store, Target};
use chrono::{DateTime, Utc};
use events::bus::{self, DeadLetter, Message};
use events::{Bus, Delivered, PerShard, Positions, Shard};
use lock::{Guard, Locks};
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};
use uuid::Uuid;

/// Messages of one shard that are counted at once, at most.
const BATCH: usize = 32;
/// How long a read waits for the first event.
const WAIT: Duration = Duration::from_millis(100);
/// How long somebody else's rebuild is waited for: as long as a call may take.
const TURN: Duration = Duration::from_mins(1);
/// The name of the lock.
const LOCK: &str = "rebuild_ranking";

/// Why the counts were not rebuilt; those that were served still are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The counts could not be changed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The events could not be read.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// It was not its turn within a minute, or Redis could not be asked.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The events were dropped before they were read, or somebody else began to rebuild: begin again.
    #[error("the replay was cut off")]
    CutOff,
}

/// Who wants the counts afresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Somebody who saw that these, or none, were served. When others are by the time it is their turn, that will do.
    InPlaceOf(Option<Generation>),
    /// The caller of this request id. When it was answered by the time it is its turn, that is the answer.
    Request(Uuid),
}

/// A fresh count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events that were counted; 0 where another's count will do.
    pub events: i64,
    /// When it took its place.
    pub as_of: DateTime<Utc>,
    /// Whether an earlier call with the same request id got this answer.
    pub replayed: bool,
}

/// Rebuilds the counts, one at a time over all replicas.
#[derive(Clone)]
pub struct Rebuild {
    store: Store,
    bus: Arc<dyn Bus>,
    locks: Locks,
}

impl Rebuild {
    /// Rebuilds `store` from the order events of `bus`, under one of `locks`.
    pub fn new(store: Store, bus: Arc<dyn Bus>, locks: Locks) -> Self {
        Self { store, bus, locks }
    }

    /// Counts afresh. Takes as long as the relay takes to replay what the outbox retains, and waits a minute at most until
    /// others have done so.
    ///
    /// # Errors
    /// Those of Redis; [`Error::Lock`]; [`Error::CutOff`].
    pub async fn run(&self, start: Start) -> Result<Rebuilt, Error> {
        let guard = self.locks.acquire(LOCK, TURN).await?;
        let result = self.run_locked(&start, &guard).await;
        if let Err(error) = guard.release().await {
            warn!(%error, "the right to rebuild was not given back; it lapses by itself");
        }
        result
    }

    async fn run_locked(&self, start: &Start, guard: &Guard) -> Result<Rebuilt, Error> {
        if let Some(done) = self.already_done(start).await? {
            return Ok(done);
        }
        self.bus.replay(CONSUMER).await?;
        let generation = self.store.create(guard.token()).await?;
        let filled = self.fill(&generation, guard).await;
        // Cut off, the replay may be somebody else's by now.
        if !matches!(filled, Err(Error::CutOff)) && !guard.is_lost() {
            self.bus.release(CONSUMER).await?;
        }
        let events = filled?;
        let as_of = self.store.serve(&generation, guard.token()).await?;
        if let Start::Request(request) = start {
            self.store.remember(*request, (events, as_of)).await?;
        }
        info!(events, "the ranking was counted afresh");
        Ok(Rebuilt { events, as_of, replayed: false })
    }

    async fn already_done(&self, start: &Start) -> Result<Option<Rebuilt>, Error> {
        match start {
            Start::Request(request) => {
                let answer = self.store.remembered(*request).await?;
                Ok(answer.map(|(events, as_of)| Rebuilt { events, as_of, replayed: true }))
            }
            Start::InPlaceOf(seen) => match self.store.top(1).await {
                Ok(served) if Some(&served.generation) != seen.as_ref() => {
                    let as_of = served.window.as_of;
                    Ok(Some(Rebuilt { events: 0, as_of, replayed: false }))
                }
                Ok(_) | Err(store::Error::Missing | store::Error::Ahead) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Counts into a generation until it has seen all that had been numbered when the replay began.
    async fn fill(&self, generation: &Generation, guard: &Guard) -> Result<i64, Error> {
        let mut reader = self.bus.reader();
        let mut positions = Positions::default();
        let mut target: Option<Positions> = None;
        let mut counted = 0;
        loop {
            if guard.is_lost() {
                return Err(Error::CutOff);
            }
            if target.is_none() {
                target = self.bus.heads().await?;
            }
            // Asked before the read: a shard that has all and yields nothing has nothing above our position.
            let tops = self.bus.state().await?.shards;
            let batches = reader.read(&positions, BATCH, WAIT).await?;
            let yielded = PerShard::from_fn(|shard| batches.iter().any(|batch| batch.0 == shard));
            let mut portions = Vec::with_capacity(batches.len());
            for (shard, messages) in batches {
                portions.extend(self.portion(shard, positions[shard], messages).await?);
            }
            if !portions.is_empty() {
                counted += self.store.apply(Target::Fresh(generation), &portions).await?;
            }
            for Portion { shard, through, .. } in portions {
                positions[shard] = through;
            }
            if let Some(target) = &target {
                for (shard, head) in target.iter() {
                    let (at, top) = (positions[shard], tops[shard].top);
                    if at < *head && top >= *head && !yielded[shard] {
                        let nothing =
                            Portion { shard, after: at, through: *head, changes: Vec::new() };
                        self.store.apply(Target::Fresh(generation), &[nothing]).await?;
                        positions[shard] = *head;
                    }
                }
            }
            self.bus.hold(CONSUMER, &positions).await?;
            if target
                .is_some_and(|target| target.iter().all(|(shard, head)| positions[shard] >= *head))
            {
                return Ok(counted);
            }
        }
    }

    async fn portion(
        &self,
        shard: Shard,
        after: i64,
        messages: Vec<Message>,
    ) -> Result<Option<Portion>, Error> {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
            return Ok(None);
        };
        if !first.may_follow(after) {
            return Err(Error::CutOff);
        }
        let mut changes = Vec::with_capacity(messages.len());
        let through = last.position;
        for message in messages {
            match message.open(shard) {
                Ok(events) => changes.extend(self.changes(shard, events).await?),
                Err(letter) => self.bus.bury(CONSUMER, &letter).await?,
            }
        }
        Ok(Some(Portion { shard, after, through, changes }))
    }

    /// What events change; one that makes no sense is put aside, as the consumer does.
    async fn changes(&self, shard: Shard, events: Vec<Delivered>) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            match change(&event) {
                Ok(change) => changes.extend(change),
                Err(reason) => {
                    let Delivered { position, index, envelope } = event;
                    let envelope = envelope.encode_to_vec();
                    let letter = DeadLetter { shard, position, index, reason, envelope };
                    self.bus.bury(CONSUMER, &letter).await?;
                }
            }
        }
        Ok(changes)
    }
}
