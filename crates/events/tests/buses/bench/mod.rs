//! The buses that the tests run on, and what befalls them.

#[cfg(feature = "kafka")]
pub(crate) mod kafka;
mod redis;

use async_trait::async_trait;
use events::{Bus, Shard};
#[cfg(feature = "kafka")]
pub(crate) use kafka::OnKafka;
pub(crate) use redis::OnRedis;
use std::sync::Arc;

/// A bus of a test's own, of the schema `order`.
#[async_trait]
pub(crate) trait Bench: Sized {
    /// A fresh one that these consumers follow; `None` where this machine has no such bus.
    async fn start(consumers: &[&str]) -> Option<Self>;

    fn bus(&self) -> Arc<dyn Bus>;

    /// Nothing is left of it, as after a disk was replaced.
    async fn lose_everything(&self);

    /// A shard's stream is what its first messages were, as after a server that kept a shorter one.
    async fn lose_end(&self, shard: Shard, kept: usize);

    /// Messages below a position are there no more.
    async fn trim(&self, shard: Shard, first: i64);

    /// Appends these bytes as a message.
    async fn add(&self, shard: Shard, position: i64, bytes: &[u8]);
}

/// Runs tests that are written for any bus on each.
macro_rules! on_every_bus {
    ($($test:ident)*) => {
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<$crate::bench::OnRedis>().await;
            })*
        }

        #[cfg(feature = "kafka")]
        mod on_kafka {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<$crate::bench::OnKafka>().await;
            })*
        }
    };
}

pub(crate) use on_every_bus;
