//! Apache Kafka.

use super::Bench;
use async_trait::async_trait;
use events::{Bus, KafkaBus, KafkaOptions, Shard};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Topics of its own on the broker of this test program, or on another.
pub(crate) struct OnKafka {
    brokers: String,
    prefix: String,
    bus: Arc<KafkaBus>,
}

impl OnKafka {
    /// On a broker of the test's own.
    pub(crate) fn on(brokers: String, consumers: &[&str]) -> Self {
        let prefix = format!("test{}", uuid::Uuid::now_v7().simple());
        let options = KafkaOptions {
            brokers: brokers.clone(),
            prefix: prefix.clone(),
            replication: 1,
            retention: Duration::from_hours(1),
        };
        let bus = Arc::new(KafkaBus::new(options, "order", consumers).unwrap());
        Self { brokers, prefix, bus }
    }

    /// Another program's bus on the same topics.
    pub(crate) fn replica(&self, consumers: &[&str]) -> Arc<dyn Bus> {
        let options = KafkaOptions {
            brokers: self.brokers.clone(),
            prefix: self.prefix.clone(),
            replication: 1,
            retention: Duration::from_hours(1),
        };
        Arc::new(KafkaBus::new(options, "order", consumers).unwrap())
    }

    pub(crate) fn topic(&self) -> String {
        format!("{}.order", self.prefix)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "test");
        config.set("auto.offset.reset", "earliest");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    async fn delete(&self, topics: &[&str]) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for deleted in self.admin().delete_topics(topics, &options).await.unwrap() {
            deleted.unwrap();
        }
    }

    /// All records of a topic, by partition and offset.
    pub(crate) async fn records(&self, topic: &str, partitions: i32) -> Vec<OwnedMessage> {
        let (config, topic) = (self.config(), topic.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let mut all = TopicPartitionList::new();
            let mut missing = 0;
            for partition in 0..partitions {
                let (low, high) = consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap();
                missing += high - low;
                all.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
            }
            consumer.assign(&all).unwrap();
            let mut records = Vec::new();
            while missing > 0 {
                if let Some(record) = consumer.poll(PATIENCE) {
                    records.push(record.unwrap().detach());
                    missing -= 1;
                }
            }
            records.sort_by_key(|record| (record.partition(), record.offset()));
            records
        });
        read.await.unwrap()
    }

    async fn of(&self, shard: Shard) -> Vec<OwnedMessage> {
        let mut records = self.records(&self.topic(), 16).await;
        records.retain(|record| record.partition() == i32::from(shard.number()));
        records
    }

    /// Writes records as they were.
    pub(crate) fn write(&self, records: &[OwnedMessage]) {
        let mut config = ClientConfig::new();
        let producer: BaseProducer =
            config.set("bootstrap.servers", &self.brokers).create().unwrap();
        for record in records {
            let topic = self.topic();
            let mut copy = BaseRecord::<[u8], [u8]>::to(&topic)
                .partition(record.partition())
                .payload(record.payload().unwrap())
                .headers(record.headers().unwrap().clone());
            if let Some(key) = record.key() {
                copy = copy.key(key);
            }
            producer.send(copy).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

/// A header's text.
pub(crate) fn header(record: &OwnedMessage, name: &str) -> Option<String> {
    let found = record.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8(found.value?.to_vec()).unwrap())
}

#[async_trait]
impl Bench for OnKafka {
    async fn start(consumers: &[&str]) -> Option<Self> {
        Some(Self::on(testkit::kafka().await?.addresses(), consumers))
    }

    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    async fn lose_everything(&self) {
        let topic = self.topic();
        self.delete(&[&topic, &format!("{topic}.control"), &format!("{topic}.dead")]).await;
    }

    async fn lose_end(&self, shard: Shard, kept: usize) {
        let records = self.of(shard).await;
        let topic = self.topic();
        self.delete(&[&topic]).await;
        let anew = [NewTopic::new(&topic, 16, TopicReplication::Fixed(1))];
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for made in self.admin().create_topics(&anew, &options).await.unwrap() {
            made.unwrap();
        }
        self.write(&records[..kept]);
    }

    async fn trim(&self, shard: Shard, first: i64) {
        let records = self.of(shard).await;
        let position =
            |record: &&OwnedMessage| header(record, "position") == Some(first.to_string());
        let end = records.last().unwrap().offset() + 1;
        let offset = records.iter().find(position).map_or(end, OwnedMessage::offset);
        let mut until = TopicPartitionList::new();
        let partition = shard.number().into();
        until.add_partition_offset(&self.topic(), partition, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&until, &AdminOptions::new()).await.unwrap();
    }

    async fn add(&self, shard: Shard, position: i64, bytes: &[u8]) {
        let records = self.of(shard).await;
        let last = records.last().unwrap();
        let (position, after) = (position.to_string(), (position - 1).to_string());
        let mut headers = OwnedHeaders::new();
        for known in last.headers().unwrap().iter() {
            let value = match known.key {
                "position" => Some(position.as_bytes()),
                "after" => Some(after.as_bytes()),
                _ => known.value,
            };
            headers = headers.insert(Header { key: known.key, value });
        }
        let record = last.clone().replace_headers(Some(headers)).set_payload(Some(bytes.to_vec()));
        self.write(&[record]);
    }
}
