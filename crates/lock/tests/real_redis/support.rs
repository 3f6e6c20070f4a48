//! Redis servers, and looks at what is in them.

use embedded::{Redis, RedisOptions};
use lock::{Locks, Token};
use redis::aio::MultiplexedConnection;
use std::time::Duration;

/// Longer than any test: what ends within it does not end because of it.
pub(crate) const EVER: Duration = Duration::from_hours(1);
/// A lease that ends in a test, and bears a machine that is busy.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

pub(crate) async fn redis() -> Redis {
    // Shown when a test fails; the first test of the process wins.
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    Redis::start(RedisOptions::temporary()).await.unwrap()
}

/// The locks as a replica has them, with connections of its own.
pub(crate) fn replica(url: &str) -> Locks {
    Locks::new(redis::Client::open(url).unwrap(), "test").unwrap()
}

pub(crate) async fn connect(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Waits until so many wait for the lock.
pub(crate) async fn waiters(url: &str, name: &str, count: i64) {
    let mut connection = connect(url).await;
    let channel = format!("test:{{lock:{name}}}:released");
    loop {
        let mut ask = redis::cmd("PUBSUB");
        ask.arg("NUMSUB").arg(&channel);
        let (_, waiting): (String, i64) = ask.query_async(&mut connection).await.unwrap();
        if waiting == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes a pivot that refuses a token smaller than the largest it has seen. Tells whether it was written.
pub(crate) async fn write(
    connection: &mut MultiplexedConnection,
    token: Token,
    text: &str,
) -> bool {
    let script = redis::Script::new(
        "if tonumber(ARGV[1]) < tonumber(redis.call('HGET', KEYS[1], 'token') or 0) then return 0 end
        redis.call('HSET', KEYS[1], 'token', ARGV[1], 'text', ARGV[2])
        return 1",
    );
    let mut call = script.key("pivot");
    call.arg(token.0).arg(text).invoke_async(connection).await.unwrap()
}
