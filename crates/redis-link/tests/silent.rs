//! Links over connections that are cut, or swallowed without being closed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use embedded::{Redis, RedisOptions};
use redis::AsyncCommands;
use redis_link::Link;
use std::time::Duration;
use testkit::Proxy;
use tokio::time::{Instant, timeout};

const WITHIN: Duration = Duration::from_millis(300);

async fn scene() -> (Redis, Proxy, Link) {
    let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
    let proxy = Proxy::before(&redis.url()).await;
    let link = Link::new(&redis_link::client(proxy.url()).unwrap(), WITHIN).unwrap();
    (redis, proxy, link)
}

async fn works(link: &Link) -> bool {
    link.clone().incr::<_, _, i64>("n", 1).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_swallowed_is_dropped_and_the_next_command_has_a_new_one() {
    let (_redis, proxy, link) = scene().await;
    assert!(works(&link).await);
    proxy.swallow_existing();
    let asked = Instant::now();
    assert!(!works(&link).await, "the answer is lost");
    assert!(asked.elapsed() < WITHIN * 20, "it was given up in time");
    // A pause after the failure, then a new connection.
    let healed = async {
        while !works(&link).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), healed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_give_up_leave_no_answer_to_others() {
    let (_redis, proxy, link) = scene().await;
    for key in 0..20_i64 {
        let () = link.clone().set(key, key).await.unwrap();
    }
    proxy.delay(Duration::from_millis(20));
    let readers = (0..200_i64).map(|n| {
        let mut link = link.clone();
        tokio::spawn(async move {
            let key = n % 20;
            let patience = Duration::from_millis(u64::try_from(n).unwrap());
            if let Ok(Ok(value)) = timeout(patience, link.get::<_, i64>(key)).await {
                assert_eq!(value, key);
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
    proxy.heal();
    for key in 0..20_i64 {
        assert_eq!(link.clone().get::<_, i64>(key).await.unwrap(), key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_connection_fails_each_command_in_time() {
    let (_redis, proxy, link) = scene().await;
    proxy.swallow_all();
    for _ in 0..3 {
        assert!(!timeout(Duration::from_secs(5), works(&link)).await.unwrap());
    }
    proxy.heal();
    let healed = async {
        while !works(&link).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), healed).await.unwrap();
}
