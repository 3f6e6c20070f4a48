//! Reading the events: all shards, or those that a consumer's group gives this replica.
//!
//! A reader yields ascending positions only: what is not above the last one, and what another generation left, is passed
//! over. So repeats, and what a relay wrote that was frozen for an hour, have no effect.

use super::client::{LOOK, TIMEOUT, is_passing, reading, unavailable};
use super::cursor::Cursor;
use super::group::{Decision, Group, Mark, commit, committed, give_back};
use super::log::{partition, shard};
use super::record::Place;
use super::{Inner, off_runtime};
use crate::bus::{Error, Message, Reader, Subscription};
use crate::{PerShard, Positions, Shard};
use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// A reader that is handed to a thread and back for each call.
pub(super) struct KafkaReader {
    bus: Arc<Inner>,
    group: Option<String>,
    reading: Option<Reading>,
}

/// What a read yields.
type Batches = Vec<(Shard, Vec<Message>)>;

struct Reading {
    bus: Arc<Inner>,
    consumer: Option<BaseConsumer<Group>>,
    /// The consumer's group; without one all shards are read.
    group: Option<String>,
    generation: String,
    /// Generations whose records are passed over.
    others: Vec<String>,
    cursors: BTreeMap<Shard, Cursor>,
    /// Partitions that the group gave us and that are not read yet.
    given: Option<Vec<Shard>>,
}

impl KafkaReader {
    /// Of all shards, or of those that a group gives.
    pub(super) fn new(bus: Arc<Inner>, group: Option<String>) -> Self {
        Self { bus, group, reading: None }
    }

    /// A call that was dropped in the middle has taken its state with it; the next begins anew.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reading) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (bus, group) = (&self.bus, &self.group);
        let mut reading =
            self.reading.take().unwrap_or_else(|| Reading::new(Arc::clone(bus), group.clone()));
        let (reading, result) = off_runtime(move || {
            let result = work(&mut reading);
            Ok((reading, result))
        })
        .await?;
        self.reading = Some(reading);
        result
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn read(
        &mut self,
        after: &Positions,
        max: usize,
        wait: Duration,
    ) -> Result<Batches, Error> {
        let after = *after;
        self.run(move |reading| reading.read(&after, max, wait)).await
    }
}

#[async_trait]
impl Subscription for KafkaReader {
    async fn acknowledge(&mut self, positions: &Positions) -> Result<(), Error> {
        let positions = *positions;
        self.run(move |reading| reading.acknowledge(&positions)).await
    }

    async fn exhausted(&mut self) -> Result<PerShard<bool>, Error> {
        self.run(Reading::exhausted).await
    }
}

impl Reading {
    fn new(bus: Arc<Inner>, group: Option<String>) -> Self {
        Self {
            bus,
            consumer: None,
            group,
            generation: String::new(),
            others: Vec::new(),
            cursors: BTreeMap::new(),
            given: None,
        }
    }

    fn read(&mut self, after: &Positions, max: usize, wait: Duration) -> Result<Batches, Error> {
        let started = Instant::now();
        self.open(after)?;
        self.take_up(after)?;
        self.go_to(after)?;
        // Whoever reads all shards is told all that is there: an end must not be taken for a pause.
        let ends = match self.group {
            None => Some(self.ends()?),
            Some(_) => None,
        };
        let (until, give_up) = (started + wait, started + wait + TIMEOUT);
        loop {
            let now = Instant::now();
            let waits = ends.as_ref().is_some_and(|ends| self.lacks(ends));
            let is_full = self.cursors.values().any(|cursor| cursor.ready() >= max);
            let found = self.cursors.values().any(|cursor| cursor.ready() > 0);
            let patience = match (waits, found) {
                (true, _) if now > give_up => {
                    return Err(Error::Unavailable("records do not come".to_owned()));
                }
                (true, _) => LOOK,
                (false, _) if is_full => break,
                (false, true) => Duration::ZERO,
                (false, false) => LOOK.min(until.saturating_duration_since(now)),
            };
            let came = self.poll(patience)?;
            if self.follow_group() {
                // The positions at hand may be others' by now.
                return Ok(Vec::new());
            }
            if !came && !waits && (found || Instant::now() >= until) {
                break;
            }
        }
        Ok(self.yielded(max))
    }

    fn open(&mut self, after: &Positions) -> Result<(), Error> {
        if self.consumer.is_some() {
            return Ok(());
        }
        let mut log = self.bus.log();
        self.generation = log.look()?.0;
        // What was dropped for its age is not waited for.
        let starts = log.first_offsets()?;
        drop(log);
        let names = self.bus.names();
        let group = self.group.clone().unwrap_or_else(|| names.group("look"));
        let mut config = reading(self.bus.brokers(), &group);
        config.set("enable.partition.eof", "false");
        let consumer: BaseConsumer<_> =
            config.create_with_context(Group::default()).map_err(unavailable)?;
        if self.group.is_some() {
            consumer.subscribe(&[&names.events]).map_err(unavailable)?;
        } else {
            for shard in Shard::all() {
                let first = Mark { position: 0, offset: starts[shard] };
                self.cursors.insert(shard, Cursor::new(after[shard], first));
            }
            consumer.assign(&self.partitions()?).map_err(unavailable)?;
        }
        self.consumer = Some(consumer);
        Ok(())
    }

    /// Begins to read what the group gave us: from its commits, or from the beginning where they are of no use.
    fn take_up(&mut self, after: &Positions) -> Result<(), Error> {
        let (Some(consumer), Some(given)) = (&self.consumer, self.given.clone()) else {
            return Ok(());
        };
        let mut log = self.bus.log();
        self.generation = log.look()?.0;
        let starts = log.starts();
        drop(log);
        let names = self.bus.names();
        let commits = committed(consumer, &names.events, &given)?;
        for shard in &given {
            let (after, start) = (after[*shard], starts[*shard]);
            let base = commits
                .get(shard)
                .filter(|mark| mark.position <= after && mark.offset >= start)
                .copied()
                .unwrap_or(Mark { position: 0, offset: start });
            self.cursors.insert(*shard, Cursor::new(after, base));
        }
        consumer.assign(&self.partitions()?).map_err(unavailable)?;
        self.given = None;
        info!(group = self.group, shards = given.len(), "reading the shards that the group gave");
        Ok(())
    }

    /// All shards that are read, at their next offsets.
    fn partitions(&self) -> Result<TopicPartitionList, Error> {
        let events = &self.bus.names().events;
        let mut list = TopicPartitionList::with_capacity(self.cursors.len());
        for (shard, cursor) in &self.cursors {
            let next = Offset::Offset(cursor.next());
            list.add_partition_offset(events, partition(*shard), next).map_err(unavailable)?;
        }
        Ok(list)
    }

    /// Drops what is not above the positions, and goes back where something above them was yielded before.
    fn go_to(&mut self, after: &Positions) -> Result<(), Error> {
        let mut back = Vec::new();
        for (shard, cursor) in &mut self.cursors {
            if !cursor.go_to(after[*shard]) {
                back.push(*shard);
            }
        }
        if back.is_empty() {
            return Ok(());
        }
        let starts = self.bus.log().starts();
        let Some(consumer) = &self.consumer else { return Ok(()) };
        for shard in back {
            let Some(cursor) = self.cursors.get_mut(&shard) else { continue };
            let to = Offset::Offset(cursor.go_back(after[shard], starts[shard]));
            let events = &self.bus.names().events;
            if let Err(error) = consumer.seek(events, partition(shard), to, TIMEOUT) {
                // Nobody knows where it reads on.
                self.leave();
                return Err(unavailable(error));
            }
        }
        Ok(())
    }

    fn ends(&self) -> Result<PerShard<i64>, Error> {
        let mut log = self.bus.log();
        if let Ok(ends) = log.event_ends() {
            return Ok(ends);
        }
        log.look()?;
        log.event_ends()
    }

    /// Whether a shard has yielded nothing yet of what was there.
    fn lacks(&self, ends: &PerShard<i64>) -> bool {
        self.cursors
            .iter()
            .any(|(shard, cursor)| cursor.ready() == 0 && cursor.next() < ends[*shard])
    }

    /// The shards of ours of which every record that is there was taken.
    fn exhausted(&mut self) -> Result<PerShard<bool>, Error> {
        let starts = self.bus.log().first_offsets()?;
        let ends = self.ends()?;
        let is_exhausted = |shard: Shard| {
            // Nothing comes of what was dropped for its age.
            let next = |cursor: &Cursor| cursor.next().max(starts[shard]);
            self.cursors.get(&shard).is_some_and(|cursor| next(cursor) >= ends[shard])
        };
        Ok(PerShard::from_fn(is_exhausted))
    }

    /// Takes one record, if one comes in time.
    fn poll(&mut self, patience: Duration) -> Result<bool, Error> {
        let Some(consumer) = &self.consumer else { return Ok(false) };
        let record = match consumer.poll(patience) {
            None => return Ok(false),
            Some(Ok(record)) => record.detach(),
            Some(Err(error)) if is_passing(&error) => return Ok(false),
            Some(Err(error)) => {
                if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                    self.leave();
                }
                return Err(unavailable(error));
            }
        };
        let Some(shard) = shard(record.partition()) else { return Ok(true) };
        let place = record.headers().and_then(Place::of);
        let is_meant = match &place {
            Some(place) => self.is_present(&place.generation)?,
            None => false,
        };
        let Some(cursor) = self.cursors.get_mut(&shard) else { return Ok(true) };
        cursor.pass(record.offset());
        if let Some(place) = place.filter(|_| is_meant) {
            cursor.take(&place, record.payload().unwrap_or_default().to_vec());
        }
        Ok(true)
    }

    /// Whether records of this generation count. Its beginning was written before them.
    fn is_present(&mut self, generation: &str) -> Result<bool, Error> {
        if self.generation == generation {
            return Ok(true);
        }
        if self.others.iter().any(|other| other == generation) {
            return Ok(false);
        }
        self.generation = self.bus.log().look()?.0;
        if self.generation == generation {
            return Ok(true);
        }
        self.others.push(generation.to_owned());
        Ok(false)
    }

    /// Leaving a group takes answers of a broker, which may be away: neither the runtime nor its end waits for them.
    fn leave(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        self.cursors.clear();
        self.given = None;
        // What was given and never taken up would be waited for.
        let leave = move || give_back(&consumer);
        if let Err(error) = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(leave)
        {
            debug!(%error, "a group was left in place");
        }
    }

    /// Takes note of what the group decided. True when it did.
    fn follow_group(&mut self) -> bool {
        let Some(consumer) = &self.consumer else { return false };
        let decisions = consumer.context().decisions();
        let decided = !decisions.is_empty();
        for decision in decisions {
            self.cursors.clear();
            self.given = match decision {
                Decision::Given(shards) => Some(shards),
                Decision::Taken => None,
            };
        }
        decided
    }

    fn yielded(&mut self, max: usize) -> Batches {
        let ready =
            self.cursors.iter_mut().map(|(shard, cursor)| (*shard, cursor.yield_ready(max)));
        ready.filter(|(_, messages)| !messages.is_empty()).collect()
    }

    fn acknowledge(&mut self, positions: &Positions) -> Result<(), Error> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        if consumer.context().has_failed() {
            self.cursors.values_mut().for_each(Cursor::commit_again);
        }
        if consumer.context().is_committing() {
            return Ok(());
        }
        let mut marks = BTreeMap::new();
        for (shard, cursor) in &mut self.cursors {
            marks.extend(cursor.acknowledge(positions[*shard]).map(|mark| (*shard, mark)));
        }
        commit(consumer, &self.bus.names().events, &marks)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.leave();
    }
}
