//! Consumers: each event once, in the order of its shard.
//!
//! A consumer keeps one position a shard and writes it together with the effect of the events, so there is nothing to
//! forget and no set of event ids to keep: what is not above the position has had its effect.

use crate::bus::{self, Bus, DeadLetter, Message, State, Subscription};
use crate::message::{type_of, unpack};
use crate::outage::Outage;
use crate::{Positions, Shard, rewound};
use api::events::v1::EventEnvelope;
use async_trait::async_trait;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Level, debug, debug_span, enabled, error, error_span, info};

/// Messages of one shard that are handed over at once, at most.
const BATCH: usize = 32;
/// How long a read waits for the first event.
const WAIT: Duration = Duration::from_millis(500);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a consumer that has much before it tells so, and how many messages are much.
const TELL: Duration = Duration::from_secs(30);
const MUCH: i64 = 1_000;

/// An event under its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Its message's number within the shard: events of one transaction may share it.
    pub position: i64,
    /// Its place in the message, from 0.
    pub index: usize,
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
    /// This event can never have an effect: put it aside and hand over the others.
    #[error("event {index} at {position} of shard {shard} makes no sense: {reason}")]
    Poison {
        /// Its shard.
        shard: Shard,
        /// Its message's position.
        position: i64,
        /// Its place in the message.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Gives events their effect.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The stored positions. Also asked when there are no events for a while.
    async fn positions(&self) -> Result<Positions, Failure>;

    /// Applies the events above the stored positions and stores where the batches end, all or nothing. At most one batch
    /// a shard.
    async fn apply(&self, batches: &[Batch]) -> Result<(), Failure>;

    /// The bus cannot continue from the stored positions: events were dropped before they were read, or the bus belongs to
    /// another outbox than they do. Begins again, if the handler can.
    async fn start_over(&self) -> Result<(), Failure>;

    /// The service's database was put back to an earlier state, or may have been: events that had their effect may tell
    /// of changes that are lost. Those that follow are new. Called before the positions pass the place. A handler whose
    /// effects must equal what the outbox tells begins again and answers [`Failure::Moved`]; others keep what they have.
    async fn rewound(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Follows one schema's bus for one handler. Cheap to clone.
#[derive(Clone)]
pub struct Consumer {
    name: &'static str,
    bus: Arc<dyn Bus>,
    handler: Arc<dyn Handler>,
    rest: Duration,
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
        Self { name, bus, handler, rest: Duration::ZERO }
    }

    /// Lets so much time pass after each read that left nothing behind: for effects that cost less the more events share
    /// them, and may be late by that. At most some seconds, or a bus may take the consumer for dead. Default: none.
    #[must_use]
    pub fn resting(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }

    /// Consumes until cancelled, over any failure.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.consume()).await;
    }

    async fn consume(&self) {
        let mut bus = self.bus.subscribe(self.name);
        let (mut told, mut outage) = (Instant::now(), Outage::of("consuming events"));
        let span = error_span!("consumer", name = self.name);
        loop {
            let followed = self.follow(&mut *bus, &mut told, &mut outage).instrument(span.clone());
            let Err(error) = followed.await else { continue };
            span.in_scope(|| outage.failed(&error));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Follows the bus from the stored positions until they move or something fails.
    async fn follow(
        &self,
        bus: &mut dyn Subscription,
        told: &mut Instant,
        outage: &mut Outage,
    ) -> Result<(), Error> {
        let mut positions = self.handler.positions().await?;
        // The bus as it was before a read that brought nothing.
        let mut before: Option<State> = None;
        loop {
            bus.acknowledge(&positions).await?;
            if told.elapsed() > TELL {
                *told = Instant::now();
                self.tell_lag().await?;
            }
            let batches = bus.read(&positions, BATCH, WAIT).await?;
            outage.over();
            if batches.is_empty() {
                let read = std::mem::replace(&mut positions, self.handler.positions().await?);
                if self.is_ahead(&positions).await? {
                    error!(consumer = self.name, "positions are ahead of the outbox");
                    return Ok(self.handler.start_over().await?);
                }
                let now = self.bus.state().await?;
                let mut gone = match before.replace(now.clone()) {
                    Some(before) if before.generation == now.generation => gone(&read, &before),
                    _ => Vec::new(),
                };
                gone.retain(|gone| positions[gone.shard] == gone.after);
                if !gone.is_empty() {
                    let exhausted = bus.exhausted().await?;
                    gone.retain(|gone| exhausted[gone.shard]);
                }
                if let Some(Batch { shard, after, .. }) = gone.iter().find(|gone| gone.after > 0) {
                    error!(consumer = self.name, %shard, after, "the bus dropped unread events");
                    return Ok(self.handler.start_over().await?);
                }
                if gone.is_empty() {
                    continue;
                }
                return Ok(self.handler.apply(&gone).await?);
            }
            before = None;
            for (shard, messages) in &batches {
                let after = positions[*shard];
                if messages.first().is_some_and(|first| !first.may_follow(after)) {
                    error!(consumer = self.name, %shard, after, "the bus dropped unread events");
                    return Ok(self.handler.start_over().await?);
                }
            }
            let may_rest = batches.iter().all(|(_, messages)| messages.len() < BATCH);
            match self.hand_over(&mut positions, batches).await {
                Ok(()) if may_rest => tokio::time::sleep(self.rest).await,
                Ok(()) => {}
                Err(Error::Handler(Failure::Moved)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn tell_lag(&self) -> Result<(), Error> {
        let Some(lag) = self.bus.lag(self.name).await? else { return Ok(()) };
        let messages: i64 = lag.iter().map(|(_, behind)| behind).sum();
        if messages > MUCH {
            info!(consumer = self.name, lag_messages = messages, "a consumer is behind its outbox");
        }
        Ok(())
    }

    async fn is_ahead(&self, positions: &Positions) -> Result<bool, Error> {
        let heads = self.bus.heads().await?;
        Ok(heads.is_some_and(|heads| positions.iter().any(|(shard, at)| *at > heads[shard])))
    }

    async fn hand_over(
        &self,
        positions: &mut Positions,
        read: Vec<(Shard, Vec<Message>)>,
    ) -> Result<(), Error> {
        let mut batches = Vec::with_capacity(read.len());
        for (shard, messages) in read {
            batches.push(self.batch(shard, positions[shard], messages).await?);
        }
        let mut is_rewound = false;
        for Batch { shard, events, .. } in &mut batches {
            let all = events.len();
            events.retain(|event| rewound::after(&event.envelope).is_none());
            if events.len() < all {
                info!(consumer = self.name, %shard, "the outbox was put back to an earlier state");
                is_rewound = true;
            }
        }
        if is_rewound {
            self.handler.rewound().await?;
        }
        while let Err(failure) = self.handler.apply(&batches).await {
            let Failure::Poison { shard, position, index, reason } = failure else {
                return Err(failure.into());
            };
            let envelope = take_out(&mut batches, shard, position, index)?.encode_to_vec();
            self.bury(DeadLetter { shard, position, index, reason, envelope }).await?;
        }
        self.tell(&batches);
        for Batch { shard, through, .. } in batches {
            positions[shard] = through;
        }
        Ok(())
    }

    /// A line an event in the trace of the call that made it, for those who follow a trace to its end.
    fn tell(&self, batches: &[Batch]) {
        if !enabled!(Level::DEBUG) {
            return;
        }
        for Batch { shard, events, .. } in batches {
            for Delivered { position, envelope, .. } in events {
                let EventEnvelope { trace_id, traceparent, .. } = &envelope;
                let span = debug_span!(
                    "event",
                    consumer = self.name,
                    trace_id = %trace_id,
                    %traceparent
                );
                span.in_scope(|| debug!(event = type_of(envelope), %shard, position, "consumed"));
            }
        }
    }

    /// The messages' events; those that are none are put aside.
    async fn batch(&self, shard: Shard, after: i64, read: Vec<Message>) -> Result<Batch, Error> {
        let through = read.last().map_or(after, |last| last.position);
        let mut events = Vec::with_capacity(read.len());
        for message in read {
            match message.open(shard) {
                Ok(delivered) => events.extend(delivered),
                Err(letter) => self.bury(letter).await?,
            }
        }
        Ok(Batch { shard, after, through, events })
    }

    /// Before the position passes it: better kept twice than lost.
    async fn bury(&self, letter: DeadLetter) -> Result<(), Error> {
        let DeadLetter { shard, position, index, reason, .. } = &letter;
        error!(consumer = self.name, %shard, position, index, reason, "an event was put aside");
        Ok(self.bus.bury(self.name, &letter).await?)
    }
}

/// What the streams had taken and no longer hold above these positions: a read in between found nothing there. Where the
/// position is 0, the outbox retains nothing of it and the bus begins after it.
fn gone(positions: &Positions, before: &State) -> Vec<Batch> {
    let gone = |(shard, after): (Shard, &i64)| {
        let (after, through) = (*after, before.shards[shard].top);
        (through > after).then_some(Batch { shard, after, through, events: Vec::new() })
    };
    positions.iter().filter_map(gone).collect()
}

impl Message {
    /// Whether no event is missing between this position and the message: it has the next number, or says that the
    /// numbers in between are lost. Position 0 is the beginning of what is retained.
    pub fn may_follow(&self, position: i64) -> bool {
        position == 0
            || self.position <= position.saturating_add(1)
            || rewound::follows(&self.envelope).is_some_and(|after| after <= position)
    }

    /// The events of this message of a shard.
    ///
    /// # Errors
    /// The message as a dead letter, where it cannot be read.
    pub fn open(self, shard: Shard) -> Result<Vec<Delivered>, DeadLetter> {
        let Self { position, envelope } = self;
        match unpack(&envelope) {
            Ok(envelopes) => {
                let events = (0..).zip(envelopes);
                Ok(events
                    .map(|(index, envelope)| Delivered { position, index, envelope })
                    .collect())
            }
            Err(error) => {
                Err(DeadLetter { shard, position, index: 0, reason: error.to_string(), envelope })
            }
        }
    }
}

fn take_out(
    batches: &mut [Batch],
    shard: Shard,
    position: i64,
    index: usize,
) -> Result<EventEnvelope, Failure> {
    let taken = batches.iter_mut().filter(|batch| batch.shard == shard).find_map(|batch| {
        let is_meant = |event: &Delivered| (event.position, event.index) == (position, index);
        let place = batch.events.iter().position(is_meant)?;
        Some(batch.events.remove(place).envelope)
    });
    taken.ok_or_else(|| {
        Failure::Later(format!("poison at {position} of shard {shard}, which was not handed over"))
    })
}
