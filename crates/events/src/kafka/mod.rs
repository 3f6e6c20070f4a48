//! The bus on Apache Kafka: a topic a schema, a partition a shard, a record an event.
//!
//! # What stands where
//!
//! | topic | partitions | holds |
//! |---|---|---|
//! | `<prefix>.<schema>` | 16, the shards | the events: key the aggregate's id, value the `EventEnvelope`, headers below |
//! | `<prefix>.<schema>.control` | 1, compacted | which generation there is and where it begins; the outbox's heads |
//! | `<prefix>.<schema>.dead` | 1, kept for ever | dead letters of all consumers |
//!
//! Each schema has one kind of aggregate, so that a topic holds one kind, and `outbox` where the schema was put back to an
//! earlier state. An event's record has the headers `position`
//! (of its row), `index` and `count` (its place in the row), `after` (the position of the row before), `generation`,
//! `type`, and where there are such `trace-id` and `traceparent`; all as text. Records carry the time of their
//! publication, by which the topic's retention counts: a row that was published late has to stay as long as others.
//!
//! # Why nothing is lost, doubled or reordered
//!
//! - A relay appends after the position that it found at the partition's end, in order and without a gap: its producer is
//!   idempotent, gives up no record while later ones go on, and is thrown away at the first failure. So a record's
//!   predecessor always stands before it, whoever wrote it.
//! - Kafka has no append that depends on the log's end. A relay that was frozen between its look and its append writes
//!   again what another has written in the meantime; readers yield ascending positions only and pass it over. No
//!   transactions: their fence is one epoch a transactional id, and relays that hold different shards of one schema at the
//!   same time would fence each other at every turn.
//! - A generation is a record in the control topic, written before any record that names it. Records of another one do
//!   not count, for relays and readers alike. So dropping the content of a bus takes no deletion, and what late relays of
//!   before append has no effect. A partition that is shorter than where its generation began, or whose generation begins
//!   with a record that follows another, was made anew under a relay's hands: the next look begins a new generation.
//! - Heads are announced before the events that lead to them, so that no consumer is ever ahead of them.
//! - A consumer's position is stored with its effect; the group's commit, which follows, only tells where to begin and,
//!   in its metadata, how far the consumer is. When shards move, the replica that gets them loads the positions again.
//!
//! Topics keep what consumers have read, so a consumer that is behind holds up nobody else and there is nothing to hold
//! for a replay. A replay publishes again what the outbox retains, under a new generation: integrators know an event
//! by its id.

mod client;
mod control;
mod cursor;
mod group;
mod letters;
mod log;
mod names;
mod producer;
mod reader;
mod record;

use crate::bus::{
    Append, Bus, DeadLetter, Error, Generation, Reader, State, StreamState, Subscription,
};
use crate::{PerShard, Positions, Shard};
use async_trait::async_trait;
use client::{Looker, Quiet, reading, unavailable};
use group::committed;
use log::Log;
use names::Names;
use reader::KafkaReader;
use record::Record;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How Kafka is used.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `HOST:PORT`, some of the brokers, with commas in between.
    pub brokers: String,
    /// Begins the names of topics and groups.
    pub prefix: String,
    /// Copies of each topic that is created, 1 to 15. All but one must have a record before it counts as written.
    pub replication: u8,
    /// How long the topics that are created keep events.
    pub retention: Duration,
}

/// One schema's topics.
#[derive(Clone)]
pub struct KafkaBus(Arc<Inner>);

type Options = KafkaOptions;

struct Inner {
    options: KafkaOptions,
    names: Names,
    consumers: Vec<String>,
    log: Mutex<Log>,
    /// By consumer: a client that asks for its group's commits and never joins it.
    groups: Mutex<BTreeMap<String, Arc<Looker>>>,
}

impl KafkaBus {
    /// The bus of `schema`, followed by `consumers`: the outbox keeps what one of them has not acknowledged.
    ///
    /// Creates the topics that are missing when it is first used; no broker need be there before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the options make no sense.
    pub fn new(options: KafkaOptions, schema: &str, consumers: &[&str]) -> Result<Self, Error> {
        let names = Names::new(&options.prefix, schema);
        Ok(Self(Arc::new(Inner {
            log: Mutex::new(Log::open(names.clone(), options.clone())?),
            names,
            options,
            consumers: consumers.iter().map(ToString::to_string).collect(),
            groups: Mutex::new(BTreeMap::new()),
        })))
    }

    async fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        off_runtime(move || work(&mut inner.log())).await
    }
}

/// The client library blocks.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Unavailable("the program ends".to_owned())),
        },
    }
}

impl Inner {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn brokers(&self) -> &str {
        &self.options.brokers
    }

    fn acknowledged(&self, consumer: &str) -> Result<Positions, Error> {
        let client = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(client) = groups.get(consumer) {
                Arc::clone(client)
            } else {
                let config = reading(self.brokers(), &self.names.group(consumer));
                let client: Arc<Looker> =
                    Arc::new(config.create_with_context(Quiet).map_err(unavailable)?);
                groups.insert(consumer.to_owned(), Arc::clone(&client));
                client
            }
        };
        let shards: Vec<Shard> = Shard::all().collect();
        let commits = committed(&client, &self.names.events, &shards)?;
        Ok(PerShard::from_fn(|shard| commits.get(&shard).map_or(0, |mark| mark.position)))
    }

    fn state(&self) -> Result<State, Error> {
        let (generation, mut shards) = {
            let mut log = self.log();
            let generation = log.look()?;
            let shard = |shard: Shard| StreamState {
                top: log.top(shard),
                head: log.head(shard),
                acknowledged: None,
                known: log.top(shard),
            };
            (generation, PerShard::from_fn(shard))
        };
        for consumer in &self.consumers {
            let done = self.acknowledged(consumer)?;
            for (shard, done) in done.iter() {
                let least = shards[shard].acknowledged.unwrap_or(i64::MAX);
                shards[shard].acknowledged = Some(least.min(*done));
                shards[shard].known = shards[shard].known.max(*done);
            }
        }
        // A group's commits are kept beside the events: what a cluster loses it loses of both.
        Ok(State { generation, shards, all_have_spoken: true })
    }
}

/// Appends to each shard whose top is still what the append follows.
fn publish(log: &mut Log, generation: &Generation, mut appends: Vec<Append>) -> Result<(), Error> {
    if log.look()? != *generation {
        return Ok(());
    }
    appends.retain(|append| log.top(append.shard) == append.after);
    let heads: Vec<_> = appends.iter().map(|append| (append.shard, append.head, 0)).collect();
    log.announce(&heads)?;
    let mut records: Vec<Record> = Vec::new();
    let (mut tops, mut unled) = (Vec::new(), Vec::new());
    for Append { shard, mut after, through, head, messages } in appends {
        for message in &messages {
            records.extend(record::split(shard, &generation.0, after, message));
            after = message.position;
        }
        tops.push((shard, after));
        if through > after {
            // Retained no more: the stream stands there though nothing leads to it.
            unled.push((shard, head, through));
        }
    }
    if !records.is_empty() {
        log.append(&records, &tops)?;
    }
    log.announce(&unled)
}

#[async_trait]
impl Bus for KafkaBus {
    async fn state(&self) -> Result<State, Error> {
        let inner = Arc::clone(&self.0);
        off_runtime(move || inner.state()).await
    }

    fn holds_back(&self) -> bool {
        false
    }

    async fn publish(&self, generation: &Generation, appends: Vec<Append>) -> Result<(), Error> {
        let generation = generation.clone();
        self.with_log(move |log| publish(log, &generation, appends)).await
    }

    async fn reset(&self, generation: &Generation) -> Result<(), Error> {
        let generation = generation.clone();
        let reset = move |log: &mut Log| {
            if log.look()? == generation {
                log.renew()?;
            }
            Ok(())
        };
        self.with_log(reset).await
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(KafkaReader::new(Arc::clone(&self.0), None))
    }

    fn subscribe(&self, consumer: &str) -> Box<dyn Subscription> {
        let group = self.0.names.group(consumer);
        Box::new(KafkaReader::new(Arc::clone(&self.0), Some(group)))
    }

    async fn acknowledged(&self, consumer: &str) -> Result<Positions, Error> {
        let (inner, consumer) = (Arc::clone(&self.0), consumer.to_owned());
        off_runtime(move || inner.acknowledged(&consumer)).await
    }

    async fn heads(&self) -> Result<Option<Positions>, Error> {
        let heads = |log: &mut Log| {
            log.look()?;
            if Shard::all().any(|shard| log.head(shard).is_none()) {
                return Ok(None);
            }
            Ok(Some(PerShard::from_fn(|shard| log.head(shard).unwrap_or_default())))
        };
        self.with_log(heads).await
    }

    async fn replay(&self, _consumer: &str) -> Result<(), Error> {
        let renew = |log: &mut Log| {
            log.look()?;
            log.renew().map(drop)
        };
        self.with_log(renew).await
    }

    async fn rewind(&self, consumer: &str) -> Result<(), Error> {
        self.replay(consumer).await
    }

    /// The topic keeps what a replay has not read.
    async fn hold(&self, _consumer: &str, _positions: &Positions) -> Result<(), Error> {
        Ok(())
    }

    async fn release(&self, _consumer: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn bury(&self, consumer: &str, letter: &DeadLetter) -> Result<(), Error> {
        let record = letters::record(consumer, letter);
        let bury = move |log: &mut Log| {
            log.look()?;
            log.bury(record)
        };
        self.with_log(bury).await
    }

    async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Error> {
        let consumer = consumer.to_owned();
        let read = move |log: &mut Log| Ok(letters::of(&consumer, &log.buried()?));
        self.with_log(read).await
    }
}
