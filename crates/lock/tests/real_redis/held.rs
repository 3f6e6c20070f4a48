//! Who has a lock, and who gets it next.

use crate::support::{EVER, SHORT, connect, redis, replica, waiters};
use lock::{Error, Token};
use redis::AsyncCommands;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_it_one_at_a_time_has_it_each_with_a_larger_token() {
    const REPLICAS: usize = 8;
    const WAITERS: usize = 4;
    const TIMES: usize = 5;
    let redis = redis().await;
    let mut all = JoinSet::new();
    for _ in 0..REPLICAS {
        let locks = replica(&redis.url());
        let connection = connect(&redis.url()).await;
        for _ in 0..WAITERS {
            let (locks, mut connection) = (locks.clone(), connection.clone());
            all.spawn(async move {
                for _ in 0..TIMES {
                    let guard = locks.acquire("counter", EVER).await.unwrap();
                    // Two round trips, between which any other holder would come.
                    let count: Option<i64> = connection.get("count").await.unwrap();
                    let () = connection.set("count", count.unwrap_or(0) + 1).await.unwrap();
                    let () = connection.rpush("tokens", guard.token().0).await.unwrap();
                    guard.release().await.unwrap();
                }
            });
        }
    }
    all.join_all().await;
    let mut connection = connect(&redis.url()).await;
    let count: usize = connection.get("count").await.unwrap();
    assert_eq!(count, REPLICAS * WAITERS * TIMES);
    let tokens: Vec<i64> = connection.lrange("tokens", 0, -1).await.unwrap();
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_not_had_while_its_holder_has_it_however_often_its_lease_is_over() {
    let redis = redis().await;
    let (one, other) = (replica(&redis.url()).with_lease(SHORT), replica(&redis.url()));
    let guard = one.acquire("job", Duration::ZERO).await.unwrap();
    let refused = other.acquire("job", SHORT * 2).await.unwrap_err();
    assert!(matches!(&refused, Error::Taken(name) if name == "job"), "{refused}");
    assert!(!guard.is_lost());
    let elsewhere = other.acquire("another job", Duration::ZERO).await;
    assert!(elsewhere.is_ok(), "each name is a lock of its own");
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_woken_when_the_lock_is_given_back() {
    let redis = redis().await;
    let (one, other) = (replica(&redis.url()).with_lease(EVER), replica(&redis.url()));
    let first = one.acquire("job", Duration::ZERO).await.unwrap();
    let waiting = tokio::spawn(async move { other.acquire("job", EVER).await.unwrap() });
    waiters(&redis.url(), "job", 1).await;
    let token = first.token();
    first.release().await.unwrap();
    let second = waiting.await.unwrap();
    assert!(second.token() > token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_guard_gives_the_lock_back() {
    let redis = redis().await;
    let (one, other) = (replica(&redis.url()).with_lease(EVER), replica(&redis.url()));
    drop(one.acquire("job", Duration::ZERO).await.unwrap());
    other.acquire("job", EVER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_waiting_leaves_nothing_behind() {
    let redis = redis().await;
    let (one, other) = (replica(&redis.url()).with_lease(EVER), replica(&redis.url()));
    let guard = one.acquire("job", Duration::ZERO).await.unwrap();
    let impatient = {
        let other = other.clone();
        tokio::spawn(async move { other.acquire("job", EVER).await })
    };
    waiters(&redis.url(), "job", 1).await;
    impatient.abort();
    waiters(&redis.url(), "job", 0).await;
    guard.release().await.unwrap();
    other.acquire("job", EVER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_try_may_have_taken_is_given_back() {
    let redis = redis().await;
    let locks = replica(&redis.url()).with_lease(EVER);
    for polls in 1..20 {
        let mut trying = Box::pin(locks.acquire("job", EVER));
        for _ in 0..polls {
            if poll_once(trying.as_mut()).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    locks.acquire("job", EVER).await.unwrap();
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_larger_than_those_before_also_when_the_data_is_gone() {
    let redis = redis().await;
    let locks = replica(&redis.url());
    let mut last = Token(0);
    for _ in 0..3 {
        let guard = locks.acquire("job", Duration::ZERO).await.unwrap();
        assert!(guard.token() > last);
        last = guard.token();
        guard.release().await.unwrap();
        redis::cmd("FLUSHALL").exec_async(&mut connect(&redis.url()).await).await.unwrap();
    }
}
