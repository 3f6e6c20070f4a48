//! The counts in Redis: generations of hour buckets, their running total, and the positions of what was counted, each
//! change of which is one script.
//!
//! An hour's bucket knows the minute of each order, so what leaves the window can be subtracted minute by minute and a
//! cancelled order finds the place where it was counted; all minutes of a product's hour share one short value, so memory
//! is bounded by products and hours, not by orders. The buckets are subtracted by a persisted cursor, and fade only then.
//! One generation is served; another may be filled beside it and take its place by one change of a pointer.

use crate::domain::{Change, Entry, Kind, WINDOW_MINUTES, Window};
use crate::steady::Steady;
use chrono::{DateTime, Utc};
use events::{PerShard, Positions, Shard};
use lock::Token;
use redis::{AsyncCommands, Client, FromRedisValue, Script, Value, from_redis_value};
use redis_link::Link;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// A script over a full batch may take longer than the driver's half second when the machine is busy.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Between two looks at a Redis that is not there or does not fit, and between two lines about it.
const LOOK: Duration = Duration::from_millis(500);
const TELL: Duration = Duration::from_mins(1);
/// Generations of an older layout, which nobody serves any more: its minutes had a bucket each.
const OLDER: [&str; 2] = ["generation", "g:"];

/// Why the counts could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Redis did not answer, or refused.
    #[error("redis is unavailable: {0}")]
    Unavailable(String),
    /// The generation is gone: the counts have to be rebuilt.
    #[error("the ranking's counts are gone")]
    Missing,
    /// The stored position is below the one that the changes follow.
    #[error("the ranking's positions have moved")]
    Moved,
    /// Somebody began to rebuild later than the holder of this token, whose lock was lost.
    #[error("a later rebuild has begun")]
    Fenced,
    /// The window began later than it does now, because a clock was wrong: the counts have to be rebuilt.
    #[error("the ranking's window is ahead of the present")]
    Ahead,
    /// Redis may throw away keys when memory is short, so counts could go wrong silently.
    #[error("redis must run with maxmemory-policy noeviction, and runs with {0}")]
    Evicting(String),
    /// It answered what it never should.
    #[error("redis answered nonsense: {0}")]
    Malformed(String),
}

/// Whose time decides what is in the window.
#[derive(Debug, Clone)]
pub enum Clock {
    /// That of Redis, which all replicas share; where it is more than an hour ahead of this process's, this process's.
    Redis(Arc<Steady>),
    /// A hand that tests move, in microseconds since 1970.
    Moved(Arc<AtomicI64>),
}

/// Names a generation of counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation(String);

/// Which counts are meant.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Those that are served.
    Served,
    /// Those that are being filled.
    Fresh(&'a Generation),
}

/// Changes of one shard that follow each other without a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// The shard.
    pub shard: Shard,
    /// The position that the changes follow.
    pub after: i64,
    /// The position to store, at least that of the last change.
    pub through: i64,
    /// Ascending by position.
    pub changes: Vec<Change>,
}

/// The counts at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which generation they are from.
    pub generation: Generation,
    /// What was counted.
    pub window: Window,
    /// Up to where the order events had been counted.
    pub positions: Positions,
    /// The products, in no order.
    pub entries: Vec<Entry>,
}

/// The counts.
#[derive(Clone)]
pub struct Store {
    pub(crate) connection: Link,
    base: String,
    clock: Clock,
}

macro_rules! script {
    ($($file:literal),+) => {{
        static SCRIPT: std::sync::LazyLock<Script> = std::sync::LazyLock::new(|| {
            Script::new(concat!(include_str!("lua/clock.lua"), $(include_str!($file)),+))
        });
        &*SCRIPT
    }};
}

impl Store {
    /// The counts in this Redis, its keys beginning with `prefix`. Connects when first used; needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the client's settings make no sense.
    pub fn new(client: Client, prefix: &str) -> Result<Self, Error> {
        Self::with_clock(client, prefix, Clock::Redis(Arc::default()))
    }

    /// As [`new`](Self::new), by another clock: for tests that move time.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[expect(clippy::needless_pass_by_value, reason = "as all who are given a client")]
    pub fn with_clock(client: Client, prefix: &str, clock: Clock) -> Result<Self, Error> {
        let connection = Link::new(&client, TIMEOUT)?;
        Ok(Self { connection, base: format!("{prefix}:{{ranking}}"), clock })
    }

    /// Waits until there is a Redis that evicts no keys, and tells what it waits for.
    pub async fn fit(&self) {
        let mut told: Option<Instant> = None;
        while let Err(error) = self.check().await {
            if told.is_none_or(|told| told.elapsed() >= TELL) {
                told = Some(Instant::now());
                tracing::error!(%error, "best sellers are not counted until redis is as it must be");
            }
            tokio::time::sleep(LOOK).await;
        }
        if told.is_some() {
            tracing::info!("redis is as it must be; best sellers are counted");
        }
    }

    /// Refuses a Redis that evicts keys.
    ///
    /// # Errors
    /// [`Error::Evicting`]; those of Redis.
    pub async fn check(&self) -> Result<(), Error> {
        let mut info = redis::cmd("INFO");
        let text: String = info.arg("memory").query_async(&mut self.connection.clone()).await?;
        let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        match policy.map(str::trim) {
            Some("noeviction") => Ok(()),
            other => Err(Error::Evicting(other.unwrap_or("an unknown policy").to_owned())),
        }
    }

    /// Up to where the served counts have counted.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Ahead`]; those of Redis.
    pub async fn positions(&self) -> Result<(Generation, Positions), Error> {
        let script = script!("lua/counts.lua", "lua/window.lua", "lua/positions.lua");
        let (generation, stored): (String, HashMap<u8, i64>) =
            self.run(script, Target::Served, &[]).await?;
        Ok((Generation(generation), positions(&stored)))
    }

    /// Counts the changes of these portions, less those at or below the stored positions, and stores where they end; all
    /// of them or none. Answers how many changes were new.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Ahead`], [`Error::Moved`]; those of Redis.
    pub async fn apply(&self, target: Target<'_>, portions: &[Portion]) -> Result<i64, Error> {
        let mut arguments = vec![portions.len().to_string()];
        for Portion { shard, after, through, changes } in portions {
            arguments.push(shard.to_string());
            arguments.extend([after, through].map(i64::to_string));
            arguments.push(changes.len().to_string());
        }
        for change in portions.iter().flat_map(|portion| &portion.changes) {
            let sign = match change.kind {
                Kind::Confirmed => "+",
                Kind::Cancelled => "-",
            };
            arguments.push(change.position.to_string());
            arguments.push(sign.to_owned());
            arguments.push(change.placed_at.timestamp_micros().to_string());
            arguments.push(change.order_id.to_string());
            arguments.push(change.products.len().to_string());
            arguments.extend(change.products.iter().map(i64::to_string));
        }
        let script = script!("lua/counts.lua", "lua/window.lua", "lua/apply.lua");
        let (counted,) = self.run(script, target, &arguments).await?;
        Ok(counted)
    }

    /// All products that may be among the best `limit`: so a tie at the end of the list is decided by
    /// [`best`](crate::domain::best) alone.
    ///
    /// # Errors
    /// [`Error::Missing`]; those of Redis.
    pub async fn top(&self, limit: u32) -> Result<Snapshot, Error> {
        self.read(limit.max(1)).await
    }

    /// All products with orders in the window: what a recount over the same bounds is compared with.
    ///
    /// # Errors
    /// [`Error::Missing`]; those of Redis.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.read(0).await
    }

    async fn read(&self, limit: u32) -> Result<Snapshot, Error> {
        type Answer = (String, i64, i64, HashMap<u8, i64>, Vec<i64>);
        let script = script!("lua/counts.lua", "lua/window.lua", "lua/read.lua");
        let (generation, minute, now, stored, numbers): Answer =
            self.run(script, Target::Served, &[limit.to_string()]).await?;
        let mut entries = Vec::with_capacity(numbers.len() / 3);
        for numbers in numbers.chunks_exact(3) {
            let [product_id, orders, latest] = *numbers else { continue };
            entries.push(Entry { product_id, orders, latest: instant(latest)? });
        }
        Ok(Snapshot {
            generation: Generation(generation),
            window: Window {
                start: instant(minute.saturating_mul(60_000_000))?,
                as_of: instant(now)?,
            },
            positions: positions(&stored),
            entries,
        })
    }

    /// Begins an empty generation beside the one that is served. From now on smaller tokens are refused.
    ///
    /// # Errors
    /// [`Error::Fenced`]; those of Redis.
    pub async fn create(&self, token: Token) -> Result<Generation, Error> {
        let generation = Generation(Uuid::now_v7().to_string());
        let script = script!("lua/fence.lua", "lua/create.lua");
        let () = self.run(script, Target::Fresh(&generation), &self.fence(token)).await?;
        Ok(generation)
    }

    /// Serves this generation from now on, and drops all others. Answers the time.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Fenced`]; those of Redis.
    pub async fn serve(
        &self,
        generation: &Generation,
        token: Token,
    ) -> Result<DateTime<Utc>, Error> {
        let script = script!("lua/fence.lua", "lua/serve.lua");
        let (now,): (i64,) =
            self.run(script, Target::Fresh(generation), &self.fence(token)).await?;
        self.sweep(generation).await?;
        instant(now)
    }

    async fn sweep(&self, served: &Generation) -> Result<(), Error> {
        let mut connection = self.connection.clone();
        let kept = format!("{}{}:", self.generations(), served.0);
        let [pointer, older] = OLDER.map(|name| self.key(name));
        let is_dropped = |key: &String| {
            let is_other = key.starts_with(&self.generations()) && !key.starts_with(&kept);
            is_other || *key == pointer || key.starts_with(&older)
        };
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(self.key("*"));
            let (next, keys): (u64, Vec<String>) =
                scan.arg("COUNT").arg(1_000).query_async(&mut connection).await?;
            let dropped: Vec<String> = keys.into_iter().filter(is_dropped).collect();
            if !dropped.is_empty() {
                let () = connection.unlink(dropped).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    pub(crate) fn key(&self, what: &str) -> String {
        format!("{}:{what}", self.base)
    }

    fn fence(&self, token: Token) -> [String; 2] {
        [self.key("fence"), token.to_string()]
    }

    fn generations(&self) -> String {
        self.key("hours:")
    }

    /// Runs a script until it has nothing left to make up for.
    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        target: Target<'_>,
        arguments: &[String],
    ) -> Result<T, Error> {
        let generation = match target {
            Target::Served => "",
            Target::Fresh(generation) => &generation.0,
        };
        loop {
            let now = match &self.clock {
                Clock::Redis(own) => format!("<{}", own.now().timestamp_micros()),
                Clock::Moved(hand) => hand.load(Ordering::SeqCst).to_string(),
            };
            let mut call = script.key(self.key("served"));
            call.arg(self.generations()).arg(generation).arg(now).arg(WINDOW_MINUTES);
            let mut answer: Vec<Value> =
                call.arg(arguments).invoke_async(&mut self.connection.clone()).await?;
            let rest = answer.split_off(answer.len().min(1));
            let status: (String,) = from_redis_value(Value::Array(answer))?;
            match status.0.as_str() {
                "ok" => return Ok(from_redis_value(Value::Array(rest))?),
                "more" => {}
                "missing" => return Err(Error::Missing),
                "ahead" => return Err(Error::Ahead),
                "moved" => return Err(Error::Moved),
                "fenced" => return Err(Error::Fenced),
                other => return Err(Error::Malformed(other.to_owned())),
            }
        }
    }
}

fn positions(stored: &HashMap<u8, i64>) -> Positions {
    PerShard::from_fn(|shard| stored.get(&shard.number()).copied().unwrap_or_default())
}

pub(crate) fn instant(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::Malformed(format!("the time {micros}")))
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<redis::ParsingError> for Error {
    fn from(error: redis::ParsingError) -> Self {
        Self::Malformed(error.to_string())
    }
}
