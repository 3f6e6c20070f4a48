//! What the relay and the consumers ask of a bus. A bus carries one schema's events, a stream a shard, each message
//! under the position that the relay gave it.

use crate::{PerShard, Positions, Shard};
use api::events::v1::EventEnvelope;
use async_trait::async_trait;
use prost::Message as _;
use std::time::Duration;
use uuid::Uuid;

/// Why the bus did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It did not answer, or refused; nobody knows whether the request took effect. Ask again.
    #[error("the event bus is unavailable: {0}")]
    Unavailable(String),
    /// It is not as this program needs it, and stays so until somebody mends it.
    #[error("the event bus does not fit: {0}")]
    Unfit(String),
    /// It answered what it never should.
    #[error("the event bus answered nonsense: {0}")]
    Malformed(String),
}

/// Names one life of the streams: it changes whenever their content was dropped to be refilled from the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation(pub String);

/// What the relay has to know before it publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The streams' present life; begun by the question if there was none.
    pub generation: Generation,
    /// The shards.
    pub shards: PerShard<StreamState>,
    /// Whether every consumer has acknowledged something since the bus last lost what it knew of them.
    pub all_have_spoken: bool,
}

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamState {
    /// Position of the last message that it took.
    pub top: i64,
    /// The outbox's last position as announced in this generation.
    pub head: Option<i64>,
    /// Up to here every consumer is done; `None` where there are no consumers.
    pub acknowledged: Option<i64>,
    /// The highest position that it took or that a consumer acknowledged: no other event may get a number up to it.
    pub known: i64,
}

/// A row of the outbox under its position: one event, or several that one transaction made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number within the shard, from 1.
    pub position: i64,
    /// An encoded `commerce.events.v1.EventEnvelope`; [`Message::open`] yields the events.
    pub envelope: Vec<u8>,
}

impl Message {
    /// A number that tells this row from another one under the same position, of a past that was lost: 1 to 2^32.
    pub fn mark(&self) -> i64 {
        let event = EventEnvelope::decode(self.envelope.as_slice()).ok();
        let id = event.and_then(|event| Uuid::try_parse(&event.event_id).ok());
        let random = id.and_then(|id| id.as_bytes().last_chunk::<4>().copied()).unwrap_or_default();
        i64::from(u32::from_be_bytes(random)) + 1
    }
}

/// What leads a shard from the top `after` to the top `through`: its messages, unless the outbox retains them no more.
#[derive(Debug, Clone)]
pub struct Append {
    /// The shard.
    pub shard: Shard,
    /// The top that the messages follow.
    pub after: i64,
    /// The top that they lead to, at least `after`.
    pub through: i64,
    /// The outbox's last position, for those who wait until they have seen all.
    pub head: i64,
    /// Ascending by position, all above `after` and none above `through`; may be empty, to announce the head.
    pub messages: Vec<Message>,
}

/// An event that a consumer could not make sense of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its shard.
    pub shard: Shard,
    /// Its message's position.
    pub position: i64,
    /// Its place in the message, from 0.
    pub index: usize,
    /// What was wrong with it.
    pub reason: String,
    /// The envelope as it came.
    pub envelope: Vec<u8>,
}

/// One schema's event bus.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The streams as they are. Where the generation is gone they are emptied first and a new one begins.
    async fn state(&self) -> Result<State, Error>;

    /// Appends to each shard whose top is still `after`, and does nothing to the others: so a repeat, and a relay that is
    /// late, publish nothing. Does nothing at all in another generation. Trims what all consumers are done with.
    async fn publish(&self, generation: &Generation, appends: Vec<Append>) -> Result<(), Error>;

    /// Whether what its consumers have not acknowledged burdens it, so that a relay must not go far ahead of them.
    fn holds_back(&self) -> bool;

    /// Ends this generation, if it is still the present one.
    async fn reset(&self, generation: &Generation) -> Result<(), Error>;

    /// A reader of all shards, with a connection of its own.
    fn reader(&self) -> Box<dyn Reader>;

    /// Reads on behalf of a consumer, whose replicas may share the shards.
    fn subscribe(&self, consumer: &str) -> Box<dyn Subscription>;

    /// Up to where a consumer has acknowledged.
    async fn acknowledged(&self, consumer: &str) -> Result<Positions, Error>;

    /// Messages that the outbox has and a consumer has not acknowledged; `None` until all heads are announced.
    async fn lag(&self, consumer: &str) -> Result<Option<Positions>, Error> {
        let done = self.acknowledged(consumer).await?;
        let behind = |heads: Positions| {
            PerShard::from_fn(|shard| heads[shard].saturating_sub(done[shard]).max(0))
        };
        Ok(self.heads().await?.map(behind))
    }

    /// The outbox's last positions as announced by the relay since the generation began; `None` until all are.
    async fn heads(&self) -> Result<Option<Positions>, Error>;

    /// Begins a new generation, which the relay refills with all events that the outbox retains, and keeps them until
    /// [`hold`](Self::hold) was told of them.
    async fn replay(&self, consumer: &str) -> Result<(), Error>;

    /// Tells how far a replay is; without a call for 60 s the replay counts as abandoned.
    async fn hold(&self, consumer: &str, positions: &Positions) -> Result<(), Error>;

    /// Begins a new generation as [`replay`](Self::replay) does, for a consumer that begins again from 0 and acknowledges
    /// as it goes: nothing is held but by that.
    async fn rewind(&self, consumer: &str) -> Result<(), Error>;

    /// Ends a replay.
    async fn release(&self, consumer: &str) -> Result<(), Error>;

    /// Keeps an event that a consumer could not make sense of, once.
    async fn bury(&self, consumer: &str, letter: &DeadLetter) -> Result<(), Error>;

    /// All that were kept for a consumer, by shard and position.
    async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Error>;
}

/// Reads the streams. After an error, or a call that was dropped, it may be asked again.
#[async_trait]
pub trait Reader: Send {
    /// Up to `max` messages a shard above the given positions, in order; waits up to `wait` for the first, and not at all
    /// for zero. Empty when none came. A reader of all shards passes over none that has messages when it is asked.
    ///
    /// Redis looks only ten times a second whether a short wait is over.
    async fn read(
        &mut self,
        after: &Positions,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Shard, Vec<Message>)>, Error>;
}

/// Reads the shards that are a consumer's, or this replica's of it.
#[async_trait]
pub trait Subscription: Reader {
    /// Tells that the consumer is done up to these positions, as far as the shards are this replica's. May be late or
    /// repeated.
    async fn acknowledge(&mut self, positions: &Positions) -> Result<(), Error>;

    /// After a read that brought nothing: the shards that are this replica's and had nothing above its positions when it
    /// ended. What such a shard had taken by the time the read began, the bus holds no more.
    async fn exhausted(&mut self) -> Result<PerShard<bool>, Error>;
}
