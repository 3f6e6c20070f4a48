//! Events: written with the change that they tell of, relayed in order, consumed once.
//!
//! A service appends to its schema's outbox in the transaction of the change ([`outbox::append`]) and rings the
//! [`Bell`] after the commit. The schema's [`Relay`] numbers and publishes on a [`Bus`]: [`RedisStreams`], or with the
//! feature `kafka` a `KafkaBus`. A [`Consumer`] hands what arrives to its [`Handler`].
//!
//! Auto-increment order is not commit order, so nothing here remembers "the last id": the relay numbers what has been
//! committed, under the shard's lock, and that number is the row's position for ever. A row is one message on the bus and
//! tells of one event, or of several that one transaction made in one shard. No number is given twice, not even after the
//! database was put back to an earlier state: see [`rewound`].

pub mod bus;
mod consumer;
pub mod feed;
mod hold;
#[cfg(feature = "kafka")]
mod kafka;
pub mod message;
mod numbering;
mod outage;
pub mod outbox;
mod purge;
mod redis_streams;
mod relay;
pub mod rewound;
mod schema;
mod shard;

pub use bus::Bus;
pub use consumer::{Batch, Consumer, Delivered, Failure, Handler};
pub use hold::{Backlog, Hold, backlog, published};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaBus, KafkaOptions};
pub use numbering::pending;
pub use outbox::Event;
pub use purge::{Error as PurgeError, Purge};
pub use redis_streams::RedisStreams;
pub use relay::{Bell, Relay, RelayOptions};
pub use shard::{PerShard, Positions, SHARDS, Shard};

/// The tables of a source of events: the outbox and its shards.
pub const MIGRATIONS: &[db::Migration] = &[
    db::migration!("2026-11-23-000005_outbox"),
    db::migration!("2026-11-23-000006_outbox_shard"),
    db::migration!("2026-11-23-000007_outbox_shard_rows"),
    db::migration!("2026-11-25-000001_outbox_without_aggregate"),
];
