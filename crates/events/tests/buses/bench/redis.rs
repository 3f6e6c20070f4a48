//! Redis Streams.

use super::Bench;
use async_trait::async_trait;
use embedded::{Redis, RedisOptions};
use events::{Bus, RedisStreams, Shard};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, Client};
use std::sync::Arc;

/// A Redis of its own, which ends with it.
pub(crate) struct OnRedis {
    redis: Redis,
    bus: Arc<RedisStreams>,
}

impl OnRedis {
    /// The server, to be killed and started again.
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    fn client(redis: &Redis) -> Client {
        Client::open(redis.url()).unwrap()
    }

    async fn connection(&self) -> MultiplexedConnection {
        Self::client(&self.redis).get_multiplexed_async_connection().await.unwrap()
    }

    fn stream(shard: Shard) -> String {
        format!("test:{{order}}:events:{shard}")
    }
}

#[async_trait]
impl Bench for OnRedis {
    async fn start(consumers: &[&str]) -> Option<Self> {
        let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
        let bus = RedisStreams::new(Self::client(&redis), "test", "order", consumers).unwrap();
        Some(Self { redis, bus: Arc::new(bus) })
    }

    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    async fn lose_everything(&self) {
        let mut connection = self.connection().await;
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    }

    async fn lose_end(&self, shard: Shard, kept: usize) {
        let mut connection = self.connection().await;
        let stream = Self::stream(shard);
        let all: StreamRangeReply = connection.xrange_all(&stream).await.unwrap();
        let () = connection.del(&stream).await.unwrap();
        for entry in &all.ids[..kept] {
            let bytes: Vec<u8> = entry.get("e").unwrap();
            let () = connection.xadd(&stream, &entry.id, &[("e", bytes)]).await.unwrap();
        }
    }

    async fn trim(&self, shard: Shard, first: i64) {
        let mut trim = redis::cmd("XTRIM");
        trim.arg(Self::stream(shard)).arg("MINID").arg("=").arg(format!("{first}-0"));
        let _: i64 = trim.query_async(&mut self.connection().await).await.unwrap();
    }

    async fn add(&self, shard: Shard, position: i64, bytes: &[u8]) {
        let (stream, id) = (Self::stream(shard), format!("{position}-0"));
        let () = self.connection().await.xadd(stream, id, &[("e", bytes)]).await.unwrap();
    }
}
