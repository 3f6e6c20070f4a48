//! What a consumer's group decides and knows.
//!
//! Decisions and the ends of commits come to a context of librdkafka's, in the middle of a poll. They are noted there, and
//! acted upon by the reader, with its positions at hand.

use super::client::{Quiet, TIMEOUT, unavailable};
use super::log::{partition, shard};
use crate::Shard;
use crate::bus::Error;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::debug;

/// The context of a consumer.
#[derive(Default)]
pub(super) struct Group(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    decisions: Vec<Decision>,
    /// When the commit was sent that is not answered yet.
    committing: Option<Instant>,
    has_failed: bool,
}

pub(super) enum Decision {
    Given(Vec<Shard>),
    Taken,
}

/// Where a shard is read on.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) position: i64,
    /// The messages above the position are read from here.
    pub(super) offset: i64,
}

impl Group {
    /// What was decided since the last call, in order.
    pub(super) fn decisions(&self) -> Vec<Decision> {
        std::mem::take(&mut self.noted().decisions)
    }

    /// True once after commits that did not succeed: what they told is to be told again.
    pub(super) fn has_failed(&self) -> bool {
        std::mem::take(&mut self.noted().has_failed)
    }

    /// True while a commit is under way that an answer may still come to.
    pub(super) fn is_committing(&self) -> bool {
        self.noted().committing.is_some_and(|since| since.elapsed() < TIMEOUT)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let decisions = &mut self.noted().decisions;
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let elements = partitions.elements();
            let shards = elements.iter().filter_map(|element| shard(element.partition()));
            decisions.push(Decision::Given(shards.collect()));
            return;
        }
        decisions.push(Decision::Taken);
        give_back(consumer);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let mut noted = self.noted();
        noted.committing = None;
        if let Err(error) = result {
            // Perhaps the group has moved on. The effect stands with its position: whoever has the shards begins there.
            debug!(%error, "not committed");
            noted.has_failed = true;
        }
    }
}

/// Gives back the partitions of a consumer.
pub(super) fn give_back(consumer: &BaseConsumer<Group>) {
    if let Err(error) = consumer.unassign() {
        debug!(%error, "partitions were not given back; the group takes them");
    }
}

/// Sends a commit and does not wait for its end: a coordinator that is away, or a group that is about to change, would
/// hold up the reading that it waits for.
///
/// # Errors
/// [`Error::Unavailable`] where there is no room for it.
pub(super) fn commit(
    consumer: &BaseConsumer<Group>,
    topic: &str,
    marks: &BTreeMap<Shard, Mark>,
) -> Result<(), Error> {
    if marks.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(marks.len());
    for (shard, mark) in marks {
        let offset = Offset::Offset(mark.offset);
        list.add_partition_offset(topic, partition(*shard), offset).map_err(unavailable)?;
        if let Some(mut element) = list.find_partition(topic, partition(*shard)) {
            element.set_metadata(mark.position.to_string());
        }
    }
    consumer.context().noted().committing = Some(Instant::now());
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        consumer.context().commit_callback(Err(error), &list);
    }
    Ok(())
}

/// What a consumer's group committed, of these shards.
///
/// # Errors
/// [`Error::Unavailable`].
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    shards: &[Shard],
) -> Result<BTreeMap<Shard, Mark>, Error> {
    if shards.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut list = TopicPartitionList::with_capacity(shards.len());
    for shard in shards {
        list.add_partition(topic, partition(*shard));
    }
    let list = consumer.committed_offsets(list, TIMEOUT).map_err(unavailable)?;
    Ok(list.elements().iter().filter_map(mark).collect())
}

fn mark(element: &TopicPartitionListElem<'_>) -> Option<(Shard, Mark)> {
    let Offset::Offset(offset) = element.offset() else { return None };
    let position = element.metadata().parse().ok()?;
    Some((shard(element.partition())?, Mark { position, offset }))
}
