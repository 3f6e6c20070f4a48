//! Outbox, relay and consumers against a MariaDB and a bus of their own: the same tests on Redis and, with the feature
//! `kafka`, on Kafka.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and tells how far it came"
)]

mod bench;
mod consumer;
mod hold;
#[cfg(feature = "kafka")]
mod kafka;
mod kills;
mod load;
mod outages;
mod relay;
mod restored;
mod rows;
mod silent;
mod support;
mod uncommitted;
