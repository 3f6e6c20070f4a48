//! Clients of the broker, and reading a known range.
//!
//! All calls here block: they are made off the runtime's threads.

use crate::bus::Error;
use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::debug;

/// How long a broker may take to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a poll waits at most, so that it sees its deadline.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Makes topics.
pub(super) type Admin = AdminClient<Quiet>;

/// Reads what it is told to.
pub(super) type Looker = BaseConsumer<Quiet>;

/// Whoever asked tells what went wrong: what the library says by itself, many times a second while a broker is away, is
/// for those who look for it.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "said by the Kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "said by the Kafka client");
    }
}

impl ConsumerContext for Quiet {}

/// Of a partition: where to begin, and the offset that is not asked for any more.
pub(super) type Ranges = BTreeMap<i32, (i64, i64)>;

/// A client's settings.
pub(super) fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.set("client.id", "commerce");
    // A broker that restarts is found again at once.
    config.set("reconnect.backoff.max.ms", "1000");
    // A connection that is silent is given up, and made again, well before whoever waits for an answer gives up.
    config.set("socket.timeout.ms", "5000");
    config.set("socket.connection.setup.timeout.ms", "3000");
    config.set("socket.keepalive.enable", "true");
    // What the library has to say of a broker that is away is told by whoever asked it.
    config.set("log_level", "2");
    config
}

/// Settings of a client that reads. Its group holds its commits, if it makes any.
pub(super) fn reading(brokers: &str, group: &str) -> ClientConfig {
    let mut config = config(brokers);
    config.set("group.id", group);
    // A replica that is gone, or hangs, is without its shards so soon.
    config.set("session.timeout.ms", "10000");
    config.set("max.poll.interval.ms", "60000");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true");
    config.set("allow.auto.create.topics", "false");
    // Bounds what waits in memory.
    config.set("queued.max.messages.kbytes", "16384");
    // A topic that was deleted and made anew is noticed.
    config.set("topic.metadata.refresh.interval.ms", "5000");
    config
}

#[expect(clippy::needless_pass_by_value, reason = "it is there to be mapped with")]
pub(super) fn unavailable(error: KafkaError) -> Error {
    Error::Unavailable(error.to_string())
}

/// Waits for an answer that comes from a thread of the library's.
pub(super) fn block_on<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(answer)
}

/// The offset of the first record of each partition, or the one that follows the last.
///
/// # Errors
/// [`Error::Unavailable`], also for a topic that is not there.
pub(super) fn offsets(
    consumer: &Looker,
    of: &[(&str, i32)],
    which: Offset,
) -> Result<Vec<i64>, Error> {
    let mut asked = TopicPartitionList::with_capacity(of.len());
    for (topic, partition) in of {
        asked.add_partition_offset(topic, *partition, which).map_err(unavailable)?;
    }
    let told = consumer.offsets_for_times(asked, TIMEOUT).map_err(unavailable)?;
    let offset = |(topic, partition): &(&str, i32)| {
        let found = told.find_partition(topic, *partition);
        let found = found.ok_or_else(|| Error::Malformed(format!("no offset of {topic}")))?;
        found.error().map_err(unavailable)?;
        match found.offset() {
            Offset::Offset(offset) => Ok(offset),
            other => {
                Err(Error::Unavailable(format!("the offset of {topic} {partition} is {other:?}")))
            }
        }
    };
    of.iter().map(offset).collect()
}

/// The records of a topic in these ranges, as far as they are there.
///
/// # Errors
/// [`Error::Unavailable`] when they do not come in time.
pub(super) fn read_ranges(
    consumer: &Looker,
    topic: &str,
    mut ranges: Ranges,
) -> Result<Vec<OwnedMessage>, Error> {
    ranges.retain(|_, (from, until)| from < until);
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted = TopicPartitionList::with_capacity(ranges.len());
    for (partition, (from, _)) in &ranges {
        let from = Offset::Offset(*from);
        wanted.add_partition_offset(topic, *partition, from).map_err(unavailable)?;
    }
    consumer.assign(&wanted).map_err(unavailable)?;
    let read = read_assigned(consumer, topic, ranges);
    consumer.unassign().map_err(unavailable)?;
    read
}

fn read_assigned(
    consumer: &Looker,
    topic: &str,
    mut ranges: Ranges,
) -> Result<Vec<OwnedMessage>, Error> {
    let give_up = Instant::now() + TIMEOUT;
    let mut read = Vec::new();
    while !ranges.is_empty() {
        match consumer.poll(LOOK) {
            None => {}
            Some(Ok(record)) => {
                let Some((_, until)) = ranges.get(&record.partition()) else { continue };
                let until = *until;
                if record.topic() != topic {
                    continue;
                }
                if record.offset() + 1 >= until {
                    ranges.remove(&record.partition());
                }
                if record.offset() < until {
                    read.push(record.detach());
                }
            }
            // What is not there any more does not come.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ranges.remove(&partition);
            }
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(unavailable(error)),
        }
        if Instant::now() > give_up && !ranges.is_empty() {
            return Err(Error::Unavailable(format!("the records of {topic} do not come")));
        }
    }
    Ok(read)
}

/// Whether the library goes on by itself.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                // It joins again with the next poll.
                | RDKafkaErrorCode::PollExceeded
        )
    )
}
