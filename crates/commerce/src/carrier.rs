//! What carries a shop's events.

use crate::config::{BusKind, Config, Problem};
use anyhow::{Context, Result};
use events::{Bus, RedisStreams};
use migrations::Schema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Redis or Kafka, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Carrier {
    Redis {
        url: String,
        prefix: String,
    },
    Kafka {
        brokers: String,
        prefix: String,
        replication: u8,
        /// How long topics keep events.
        retention: Duration,
    },
}

impl Carrier {
    /// As configured.
    ///
    /// # Errors
    /// [`Problem::Needed`].
    pub(crate) fn of(config: &Config) -> Result<Self, Problem> {
        Ok(match config.bus {
            BusKind::Redis => {
                let url = config.redis.url();
                let url = url.ok_or_else(|| Problem::needed("redis.url", "this process"))?;
                Self::Redis { url: url.to_owned(), prefix: config.redis.prefix.clone() }
            }
            BusKind::Kafka => {
                let brokers = config.kafka.brokers.clone();
                Self::Kafka {
                    brokers: brokers
                        .ok_or_else(|| Problem::needed("kafka.brokers", "this process"))?,
                    prefix: config.kafka.prefix.clone(),
                    replication: config.kafka.replication,
                    // No shorter than the outbox keeps them.
                    retention: config.outbox.retention.into(),
                }
            }
        })
    }

    /// The bus of a schema, followed by these consumers.
    ///
    /// # Errors
    /// A URL that is none; Kafka in a program that was built without it.
    pub(crate) fn bus(&self, schema: Schema, consumers: &[&str]) -> Result<Arc<dyn Bus>> {
        match self.clone() {
            Self::Redis { url, prefix } => {
                let client = redis_link::client(url).context("the URL of Redis")?;
                Ok(Arc::new(RedisStreams::new(client, &prefix, schema.name(), consumers)?))
            }
            #[cfg(feature = "kafka")]
            Self::Kafka { brokers, prefix, replication, retention } => {
                let options = events::KafkaOptions { brokers, prefix, replication, retention };
                Ok(Arc::new(events::KafkaBus::new(options, schema.name(), consumers)?))
            }
            #[cfg(not(feature = "kafka"))]
            Self::Kafka { .. } => {
                anyhow::bail!(
                    "the shop's events are on Kafka, and this program was built without the feature `kafka`"
                )
            }
        }
    }

    /// What an audit reads the events of.
    ///
    /// # Errors
    /// As [`Self::bus`].
    pub(crate) fn streams(&self) -> Result<audit::Streams> {
        let bus = |schema| self.bus(schema, &[]);
        Ok(audit::Streams {
            wallet: bus(Schema::Wallet)?,
            product: bus(Schema::Product)?,
            coupon: bus(Schema::Coupon)?,
            order: bus(Schema::Order)?,
        })
    }
}
