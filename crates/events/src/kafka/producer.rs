//! Writing: every record acknowledged by all replicas in sync, and in each partition in order without a gap.

use super::client::{Quiet, TIMEOUT, config, unavailable};
use super::letters;
use super::log::partition;
use super::record::Record;
use crate::bus::Error;
use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An idempotent producer: the broker refuses a record that does not follow the one before. It is thrown away after
/// the first failure, so that nothing is ever sent behind a record that was given up.
pub(super) struct Producer {
    producer: BaseProducer<Reports>,
}

/// A record of the control topic.
pub(super) struct Plain {
    pub(super) key: String,
    pub(super) value: String,
}

/// Where the records of one partition came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    first: i64,
    last: i64,
    count: i64,
}

#[derive(Default)]
struct Reports(Mutex<Told>);

#[derive(Default)]
struct Told {
    written: BTreeMap<i32, Written>,
    failure: Option<KafkaError>,
    spent: bool,
}

impl Written {
    /// Whether they stand there alone, from this end on.
    pub(super) fn is_right_after(self, end: i64) -> bool {
        self.first == end && self.last - self.first + 1 == self.count
    }

    pub(super) fn end(self) -> i64 {
        self.last + 1
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(record) => {
                let (partition, offset) = (record.partition(), record.offset());
                let new = Written { first: offset, last: offset, count: 0 };
                let written = told.written.entry(partition).or_insert(new);
                written.first = written.first.min(offset);
                written.last = written.last.max(offset);
                written.count += 1;
            }
            Err((error, _)) => {
                told.failure.get_or_insert_with(|| error.clone());
            }
        }
    }
}

impl Producer {
    pub(super) fn open(brokers: &str) -> Result<Self, Error> {
        let mut config = config(brokers);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        // A record that is given up while a later one goes on would be a gap: none is, and what cannot be written ends
        // this producer.
        config.set("message.timeout.ms", "0");
        config.set("enable.gapless.guarantee", "true");
        config.set("compression.type", "lz4");
        config.set("linger.ms", "1");
        config.set("queue.buffering.max.messages", "1000000");
        let producer = config.create_with_context(Reports::default()).map_err(unavailable)?;
        Ok(Self { producer })
    }

    /// Whether it has failed and is of no more use.
    pub(super) fn is_spent(&self) -> bool {
        self.told().spent
    }

    /// Writes events, in order. Tells where, by partition.
    pub(super) fn send(
        &self,
        topic: &str,
        records: &[Record],
    ) -> Result<BTreeMap<i32, Written>, Error> {
        for Record { shard, key, headers, value } in records {
            let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic)
                .partition(partition(*shard))
                .payload(value.as_slice())
                .headers(headers.clone());
            if let Some(key) = key {
                record = record.key(key.as_str());
            }
            self.enqueue(record)?;
        }
        self.finish()
    }

    pub(super) fn send_plain(&self, topic: &str, records: &[Plain]) -> Result<(), Error> {
        for Plain { key, value } in records {
            self.enqueue(
                BaseRecord::to(topic).partition(0).key(key.as_str()).payload(value.as_bytes()),
            )?;
        }
        self.finish().map(drop)
    }

    pub(super) fn send_letter(&self, topic: &str, record: letters::Record) -> Result<(), Error> {
        let letters::Record { key, headers, value } = record;
        let record = BaseRecord::to(topic).partition(0).key(key.as_str()).payload(value.as_slice());
        self.enqueue(record.headers(headers))?;
        self.finish().map(drop)
    }

    fn enqueue(&self, mut record: BaseRecord<'_, str, [u8]>) -> Result<(), Error> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(self.spend(error)),
            }
        }
    }

    fn finish(&self) -> Result<BTreeMap<i32, Written>, Error> {
        let give_up = Instant::now() + TIMEOUT;
        while self.producer.in_flight_count() > 0 && self.told().failure.is_none() {
            if Instant::now() > give_up {
                return Err(self.spend(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
            }
            self.producer.poll(Duration::from_millis(10));
        }
        let mut told = self.told();
        let (written, failure) = (std::mem::take(&mut told.written), told.failure.take());
        drop(told);
        match failure {
            None => Ok(written),
            Some(error) => Err(self.spend(error)),
        }
    }

    fn spend(&self, error: KafkaError) -> Error {
        self.told().spent = true;
        self.producer.purge(PurgeConfig::default().queue().inflight());
        unavailable(error)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
