//! Outbox, relay and consumers against a MariaDB and a bus of their own: the same tests on Redis and, with the feature
//! `kafka`, on Kafka.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bench;
mod consumer;
#[cfg(feature = "kafka")]
mod kafka;
mod relay;
mod support;
