//! Rounds of jobs.

use crate::support::{EVER, connect, redis, replica};
use lock::Turn;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_left_out_while_another_replica_is_at_it() {
    let redis = redis().await;
    let [one, other] = [0, 1].map(|_| Turn::new(Some(replica(&redis.url())), "sweep"));
    let done = one.run(async { other.run(async { "twice" }).await }).await;
    assert_eq!(done, Some(None));
    // The turn is given back in the background.
    replica(&redis.url()).acquire("sweep", EVER).await.unwrap().release().await.unwrap();
    assert_eq!(other.run(async { "once" }).await, Some("once"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_broken_off_when_its_lock_is_lost() {
    let redis = redis().await;
    let locks = replica(&redis.url()).with_lease(Duration::from_millis(500));
    let round = async {
        redis::cmd("FLUSHALL").exec_async(&mut connect(&redis.url()).await).await.unwrap();
        std::future::pending::<()>().await;
    };
    assert_eq!(Turn::new(Some(locks), "sweep").run(round).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_or_without_locks_a_round_is_done_all_the_same() {
    let redis = redis().await;
    let turn = Turn::new(Some(replica(&redis.url())), "sweep");
    redis.kill().await.unwrap();
    assert_eq!(turn.run(async { 1 }).await, Some(1));
    assert_eq!(Turn::new(None, "sweep").run(async { 2 }).await, Some(2));
}
