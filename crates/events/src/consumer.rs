//! Consumers: each event once, in the order of its shard.
//!
//! A consumer keeps one position a shard and writes it together with the effect of the events, so there is nothing to
//! forget and no set of event ids to keep: what is not above the position has had its effect.

use crate::bus::{self, Bus, DeadLetter, Message};
use crate::{Positions, Shard};
use api::events::v1::EventEnvelope;
use async_trait::async_trait;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Events of one shard that are handed over at once, at most.
const BATCH: usize = 256;
/// How long a read waits for the first event.
const WAIT: Duration = Duration::from_millis(500);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// An event under its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Its number within the shard.
    pub position: i64,
    /// The event.
    pub envelope: EventEnvelope,
}

/// Events of one shard that follow `after` without a hole, less those that were put aside as dead letters.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The shard.
    pub shard: Shard,
    /// The position that the events follow; 0 is the beginning of what is retained.
    pub after: i64,
    /// The position to store with the effect.
    pub through: i64,
    /// Ascending by position.
    pub events: Vec<Delivered>,
}

/// Why events had no effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Not now; hand them over again later.
    #[error("{0}")]
    Later(String),
    /// The stored positions are not those that the batch follows; load them again.
    #[error("the stored positions have moved")]
    Moved,
    /// The event at this position can never have an effect: put it aside and hand over the others.
    #[error("the event at {position} makes no sense: {reason}")]
    Poison {
        /// Which one.
        position: i64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Gives events their effect.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The stored positions. Also asked when there are no events for a while.
    async fn positions(&self) -> Result<Positions, Failure>;

    /// Applies the events above the stored position and stores `through`, both or neither.
    async fn apply(&self, batch: &Batch) -> Result<(), Failure>;

    /// The bus cannot continue from the stored positions: events were dropped before they were read, or the bus belongs to
    /// another outbox than they do. Begins again, if the handler can.
    async fn start_over(&self) -> Result<(), Failure>;
}

/// Follows one schema's bus for one handler.
pub struct Consumer {
    name: &'static str,
    bus: Arc<dyn Bus>,
    handler: Arc<dyn Handler>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Bus(#[from] bus::Error),
    #[error(transparent)]
    Handler(#[from] Failure),
}

impl Consumer {
    /// The consumer known to the bus as `name`.
    pub fn new(name: &'static str, bus: Arc<dyn Bus>, handler: Arc<dyn Handler>) -> Self {
        Self { name, bus, handler }
    }

    /// Consumes until cancelled, over any failure.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.consume()).await;
    }

    async fn consume(&self) {
        loop {
            if let Err(error) = self.follow().await {
                warn!(consumer = self.name, %error, "events were not consumed; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Follows the bus from the stored positions until they move or something fails.
    async fn follow(&self) -> Result<(), Error> {
        let mut reader = self.bus.reader();
        let mut positions = self.handler.positions().await?;
        loop {
            self.bus.acknowledge(self.name, &positions).await?;
            let batches = reader.read(&positions, BATCH, WAIT).await?;
            if batches.is_empty() {
                positions = self.handler.positions().await?;
                if self.is_ahead(&positions).await? {
                    error!(consumer = self.name, "positions are ahead of the outbox");
                    return Ok(self.handler.start_over().await?);
                }
            }
            for (shard, messages) in batches {
                let after = positions[shard];
                if after > 0 && messages.first().is_some_and(|first| first.position > after + 1) {
                    error!(consumer = self.name, %shard, after, "the bus dropped unread events");
                    return Ok(self.handler.start_over().await?);
                }
                match self.hand_over(shard, after, messages).await {
                    Ok(through) => positions[shard] = through,
                    Err(Error::Handler(Failure::Moved)) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn is_ahead(&self, positions: &Positions) -> Result<bool, Error> {
        let heads = self.bus.heads().await?;
        Ok(heads.is_some_and(|heads| positions.iter().any(|(shard, at)| *at > heads[shard])))
    }

    async fn hand_over(
        &self,
        shard: Shard,
        after: i64,
        messages: Vec<Message>,
    ) -> Result<i64, Error> {
        let through = messages.last().map_or(after, |last| last.position);
        let mut batch = Batch { shard, after, through, events: Vec::with_capacity(messages.len()) };
        for message in messages {
            match EventEnvelope::decode(message.envelope.as_slice()) {
                Ok(envelope) => {
                    batch.events.push(Delivered { position: message.position, envelope });
                }
                Err(error) => {
                    self.bury(shard, message.position, error.to_string(), message.envelope).await?;
                }
            }
        }
        loop {
            match self.handler.apply(&batch).await {
                Ok(()) => return Ok(through),
                Err(Failure::Poison { position, reason }) => {
                    let poison = batch.events.iter().position(|event| event.position == position);
                    let Some(poison) = poison else {
                        let text = format!("poison at {position}, which is not in the batch");
                        return Err(Failure::Later(text).into());
                    };
                    let event = batch.events.remove(poison);
                    self.bury(shard, position, reason, event.envelope.encode_to_vec()).await?;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Before the position passes it: better kept twice than lost.
    async fn bury(
        &self,
        shard: Shard,
        position: i64,
        reason: String,
        envelope: Vec<u8>,
    ) -> Result<(), Error> {
        error!(consumer = self.name, %shard, position, reason, "an event was put aside");
        let letter = DeadLetter { shard, position, reason, envelope };
        Ok(self.bus.bury(self.name, &letter).await?)
    }
}
