//! Campaigns that were heard to be sold out, whose rows need no lock.
//!
//! A campaign's quota never grows and no coupon is taken back, so what was once seen sold out stays so. Requests that come
//! too late then neither wait for the campaign's row nor hold it: the lane reads it, and records the refusal under the
//! request's id as it records every other answer. So what a client was told stays, whoever knew it first.
//!
//! What is remembered, here and in Redis, is only what a committed transaction answered: no campaign is sold out by a
//! grant that may yet be rolled back. Redis tells other replicas, and those that start later. Nothing rests on it: flushed,
//! slow, gone or wrong, the rows decide.
//!
//! Nothing is remembered for long, so that even a database that was put back to an earlier state is heard before soon.

use crate::domain::CouponId;
use ::participant::Told;
use api::{Reason, Refusal};
use redis::{AsyncCommands, RedisError};
use redis_link::Link;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Campaigns remembered at most: what comes later is asked of Redis and the rows.
const CAMPAIGNS: usize = 10_000;
/// How long sold out is remembered before Redis is asked again, and how long a Redis that failed is left alone.
const MEMORY: Duration = Duration::from_secs(1);
/// How long a campaign of which Redis knows nothing is not asked about again: a rush must not wait for it call by call.
const OPEN: Duration = Duration::from_millis(100);
/// How long Redis remembers, in seconds, before the rows are asked again.
const IN_REDIS_S: u64 = 60;
/// Redis is asked to save time: past this the rows are quicker.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many calls were told that a campaign is sold out, by who knew it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// The memory of this process.
    pub memory: u64,
    /// Redis.
    pub redis: u64,
    /// The rows.
    pub database: u64,
}

/// The Redis in which replicas tell each other what is sold out.
#[derive(Clone)]
pub struct Notices {
    connection: Link,
    prefix: String,
}

/// The campaigns that were seen sold out.
pub(crate) struct SoldOut {
    memory: RwLock<HashMap<CouponId, Remembered>>,
    notices: Notices,
    counters: Counters,
}

/// What was last heard of a campaign.
struct Remembered {
    /// `None`: not known to be sold out.
    refusal: Option<Refusal>,
    until: Instant,
}

/// See [`TurnedAway`].
#[derive(Default)]
struct Counters {
    memory: AtomicU64,
    redis: AtomicU64,
    database: AtomicU64,
}

/// A Redis that is slow or gone.
struct NoAnswer;

/// The counter of who knew that a campaign is sold out.
pub(crate) struct Heard<'a>(&'a AtomicU64);

impl Notices {
    /// Notices in the Redis at `url`, their keys beginning with `prefix`. Connects when first used; needs a tokio runtime.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn open(url: &str, prefix: &str) -> Result<Self, RedisError> {
        let connection = Link::new(&redis_link::client(url)?, PATIENCE)?;
        Ok(Self { connection, prefix: prefix.to_owned() })
    }

    fn key(&self, coupon: CouponId) -> String {
        format!("{}:coupon:sold_out:{}", self.prefix, coupon.0)
    }

    /// `None` where nothing is posted.
    async fn read(&self, coupon: CouponId) -> Result<Option<Vec<u8>>, NoAnswer> {
        let mut connection = self.connection.clone();
        let key = self.key(coupon);
        let mut both = redis::pipe();
        both.get(&key).ttl(&key);
        let told: Result<(Option<Vec<u8>>, i64), RedisError> =
            both.query_async(&mut connection).await;
        let (posted, left_s) = told.map_err(|_| NoAnswer)?;
        // What has longer to live was posted when Redis's clock was ahead, and is as old as nobody knows.
        let is_recent = u64::try_from(left_s).is_ok_and(|left| left <= IN_REDIS_S);
        Ok(posted.filter(|_| is_recent))
    }

    /// In the background: whoever was refused does not wait for it.
    fn post(&self, coupon: CouponId, refusal: Vec<u8>) {
        let mut connection = self.connection.clone();
        let key = self.key(coupon);
        tokio::spawn(async move {
            let posted = connection.set_ex::<_, _, ()>(key, refusal, IN_REDIS_S).await;
            if let Err(error) = posted {
                tracing::debug!(%error, "other replicas are not told that a campaign is sold out");
            }
        });
    }
}

impl SoldOut {
    pub(crate) fn new(notices: Notices) -> Self {
        Self { memory: RwLock::default(), notices, counters: Counters::default() }
    }

    /// Who knows the campaign to be sold out.
    pub(crate) async fn heard_by(&self, coupon: CouponId) -> Option<Heard<'_>> {
        if let Some(remembered) = self.remembered(coupon) {
            return remembered.map(|_| Heard(&self.counters.memory));
        }
        let Ok(posted) = self.notices.read(coupon).await else {
            self.remember(coupon, None, MEMORY);
            return None;
        };
        let refusal = posted.as_deref().and_then(sold_out);
        let lasts = if refusal.is_some() { MEMORY } else { OPEN };
        let is_sold_out = refusal.is_some();
        self.remember(coupon, refusal, lasts);
        is_sold_out.then_some(Heard(&self.counters.redis))
    }

    /// Learns from what a committed transaction answered.
    pub(crate) fn learn(&self, coupon: CouponId, told: &Told) {
        let Told::Rejected { rejection, .. } = told else { return };
        let Some(refusal) = sold_out(rejection) else { return };
        self.counters.database.fetch_add(1, Ordering::Relaxed);
        // The calls that were in the lane together learn together: one of them tells.
        if self.remember(coupon, Some(refusal), MEMORY) {
            self.notices.post(coupon, rejection.clone());
        }
    }

    pub(crate) fn turned_away(&self) -> TurnedAway {
        let Counters { memory, redis, database } = &self.counters;
        let [memory, redis, database] =
            [memory, redis, database].map(|count| count.load(Ordering::Relaxed));
        TurnedAway { memory, redis, database }
    }

    /// What is remembered of the campaign, unless that is too long ago.
    #[expect(clippy::option_option, reason = "nothing remembered is not the same as not sold out")]
    fn remembered(&self, coupon: CouponId) -> Option<Option<Refusal>> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let Remembered { refusal, until } = memory.get(&coupon)?;
        (Instant::now() < *until).then(|| refusal.clone())
    }

    /// Tells whether this is news.
    fn remember(&self, coupon: CouponId, refusal: Option<Refusal>, lasts: Duration) -> bool {
        let now = Instant::now();
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= CAMPAIGNS && !memory.contains_key(&coupon) {
            memory.retain(|_, it| now < it.until);
            if memory.len() >= CAMPAIGNS {
                return refusal.is_some();
            }
        }
        let fresh = memory.get(&coupon).filter(|it| now < it.until);
        let is_known = fresh.is_some_and(|it| it.refusal.is_some());
        if is_known {
            // A call that asked Redis before another one learned of it.
            return false;
        }
        let is_news = refusal.is_some();
        memory.insert(coupon, Remembered { refusal, until: now + lasts });
        is_news
    }
}

impl Heard<'_> {
    /// Counts the refusal, if the rows confirmed it.
    pub(crate) fn confirmed(self, told: &Told) {
        if let Told::Rejected { rejection, .. } = told
            && sold_out(rejection).is_some()
        {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The refusal, if that is what it says.
fn sold_out(encoded: &[u8]) -> Option<Refusal> {
    Refusal::decode(encoded).ok().filter(|refusal| refusal.reason == Reason::CouponSoldOut)
}

#[cfg(test)]
mod tests;
