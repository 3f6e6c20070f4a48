//! The topics and groups of a schema, and that they are there.

use super::client::{Admin, Looker, TIMEOUT, block_on, unavailable};
use crate::SHARDS;
use crate::bus::Error;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

/// What the topics and groups of a schema are called.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The events: a partition a shard.
    pub(super) events: String,
    /// Which generation there is and what its relays announced: a single compacted partition.
    pub(super) control: String,
    /// Dead letters: a single partition that keeps all.
    pub(super) dead: String,
    base: String,
}

impl Names {
    pub(super) fn new(prefix: &str, schema: &str) -> Self {
        let base = format!("{prefix}.{schema}");
        Self {
            control: format!("{base}.control"),
            dead: format!("{base}.dead"),
            events: base.clone(),
            base,
        }
    }

    /// The group of a consumer.
    pub(super) fn group(&self, consumer: &str) -> String {
        format!("{}.{consumer}", self.base)
    }

    /// Creates the topics that are missing.
    ///
    /// # Errors
    /// [`Error::Unfit`] where one is there with other partitions than it must have.
    pub(super) fn ensure(
        &self,
        admin: &Admin,
        consumer: &Looker,
        replication: u8,
        retention: Duration,
    ) -> Result<(), Error> {
        let metadata = consumer.fetch_metadata(None, TIMEOUT).map_err(unavailable)?;
        let mut missing = Vec::new();
        for (name, partitions) in
            [(&self.events, usize::from(SHARDS)), (&self.control, 1), (&self.dead, 1)]
        {
            let found = metadata.topics().iter().find(|topic| topic.name() == name);
            match found.map(|topic| topic.partitions().len()) {
                None | Some(0) => missing.push(name.as_str()),
                Some(count) if count == partitions => {}
                Some(count) => {
                    return Err(Error::Unfit(format!(
                        "the topic {name} has {count} partitions and must have {partitions}: delete it, or choose another kafka.prefix"
                    )));
                }
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            self.create(admin, &missing, replication, retention)
        }
    }

    fn create(
        &self,
        admin: &Admin,
        missing: &[&str],
        replication: u8,
        retention: Duration,
    ) -> Result<(), Error> {
        // One replica may be away without holding up the relays.
        let in_sync = replication.saturating_sub(1).max(1).to_string();
        let retention = retention.as_millis().to_string();
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .map(|name| {
                let partitions = if **name == self.events { i32::from(SHARDS) } else { 1 };
                let copies = TopicReplication::Fixed(replication.into());
                let topic = NewTopic::new(name, partitions, copies);
                let topic = topic.set("min.insync.replicas", &in_sync);
                if **name == self.control {
                    // Small segments: whoever comes new reads all that is not compacted yet.
                    topic.set("cleanup.policy", "compact").set("segment.bytes", "4194304")
                } else {
                    let kept = if **name == self.dead { "-1" } else { &retention };
                    topic.set("cleanup.policy", "delete").set("retention.ms", kept)
                }
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let created = block_on(admin.create_topics(&topics, &options)).map_err(unavailable)?;
        for result in created {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(Error::Unavailable(format!(
                        "cannot create the topic {name}: {code}"
                    )));
                }
            }
        }
        Ok(())
    }
}
