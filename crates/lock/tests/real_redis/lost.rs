//! Holders that die, are frozen, or lose their Redis.

use crate::support::{EVER, SHORT, connect, redis, replica, waiters, write};
use lock::{Error, Locks, Token};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// A holder on a runtime of one thread, which stands still until it is told to go on: nothing on it runs meanwhile, neither
/// the renewal nor a timer.
struct Frozen {
    token: Token,
    thaw: mpsc::Sender<()>,
    thread: JoinHandle<Thawed>,
}

/// What the holder found when it went on.
struct Thawed {
    knew_at_once: bool,
    wrote: bool,
    release: Result<(), Error>,
}

impl Frozen {
    async fn take(url: String, lease: Duration) -> Self {
        let (taken, frozen) = oneshot::channel();
        let (thaw, cold) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let guard = replica(&url).with_lease(lease).acquire("job", EVER).await.unwrap();
                taken.send(guard.token()).unwrap();
                cold.recv().unwrap();
                let knew_at_once = guard.is_lost();
                let wrote = write(&mut connect(&url).await, guard.token(), "late").await;
                guard.lost().await;
                Thawed { knew_at_once, wrote, release: guard.release().await }
            })
        });
        Self { token: frozen.await.unwrap(), thaw, thread }
    }

    fn thaw(self) -> Thawed {
        self.thaw.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_frozen_past_its_lease_is_fenced_off_and_knows_it_at_once() {
    let redis = redis().await;
    let frozen = Frozen::take(redis.url(), SHORT).await;
    let guard = replica(&redis.url()).acquire("job", EVER).await.unwrap();
    assert!(guard.token() > frozen.token);
    let mut pivot = connect(&redis.url()).await;
    assert!(write(&mut pivot, guard.token(), "in time").await);

    let thawed = frozen.thaw();
    assert!(thawed.knew_at_once);
    assert!(!thawed.wrote, "the resource has seen a larger token");
    assert!(matches!(thawed.release, Err(Error::Lost(_))), "{:?}", thawed.release);
    let text: String =
        redis::cmd("HGET").arg("pivot").arg("text").query_async(&mut pivot).await.unwrap();
    assert_eq!(text, "in time");
    assert!(!guard.is_lost(), "the other's release took nothing from its successor");
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_holder_that_died_is_had_when_its_lease_is_over() {
    let redis = redis().await;
    let url = redis.url();
    let dying = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let locks = replica(&url).with_lease(SHORT);
            std::mem::forget(locks.acquire("job", Duration::ZERO).await.unwrap());
        });
    });
    dying.join().unwrap();
    let other = replica(&redis.url());
    let taken = other.acquire("job", Duration::ZERO).await;
    assert!(matches!(taken, Err(Error::Taken(_))), "nobody gave it back");
    other.acquire("job", EVER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_learns_that_redis_forgot_it() {
    let redis = redis().await;
    let guard = replica(&redis.url()).with_lease(SHORT).acquire("job", EVER).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connect(&redis.url()).await).await.unwrap();
    guard.lost().await;
    assert!(guard.is_lost());
    assert!(matches!(guard.release().await, Err(Error::Lost(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_lock_is_lost_by_the_holders_own_clock_and_none_is_had() {
    let redis = redis().await;
    let locks = replica(&redis.url()).with_lease(SHORT);
    let guard = locks.acquire("job", Duration::ZERO).await.unwrap();
    redis.kill().await.unwrap();
    guard.lost().await;
    assert!(matches!(guard.release().await, Err(Error::Unavailable(_))));
    let refused = locks.acquire("job", EVER).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_and_waiter_outlast_a_redis_that_restarts() {
    let redis = redis().await;
    let locks: Locks = replica(&redis.url()).with_lease(Duration::from_mins(1));
    let guard = locks.acquire("job", Duration::ZERO).await.unwrap();
    let token = guard.token();
    let other = replica(&redis.url());
    let waiting = tokio::spawn(async move { other.acquire("job", EVER).await.unwrap() });
    waiters(&redis.url(), "job", 1).await;
    redis.restart().await.unwrap();
    waiters(&redis.url(), "job", 1).await;
    assert!(!guard.is_lost());
    while let Err(Error::Unavailable(_)) = locks.acquire("job", Duration::ZERO).await {
        tokio::task::yield_now().await;
    }
    guard.release().await.unwrap();
    assert!(waiting.await.unwrap().token() > token);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_had_soon_after_redis_fell_silent_on_the_connection() {
    let redis = redis().await;
    let proxy = testkit::Proxy::before(&redis.url()).await;
    let locks = replica(&proxy.url());
    locks.acquire("job", EVER).await.unwrap().release().await.unwrap();
    proxy.swallow_existing();
    let healed = async {
        while locks.acquire("job", Duration::ZERO).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), healed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_a_clock_far_ahead_has_written_holds_up_nobody() {
    let redis = redis().await;
    let mut connection = connect(&redis.url()).await;
    let four_days = 4 * 24 * 60 * 60;
    let mut set = redis::cmd("SET");
    set.arg("test:{lock:job}").arg("somebody").arg("EX").arg(four_days);
    let () = set.query_async(&mut connection).await.unwrap();
    replica(&redis.url()).acquire("job", Duration::ZERO).await.unwrap().release().await.unwrap();
}
