//! One contender's claim to a lock: taking it, renewing it, giving it back.

use crate::Error;
use crate::guard::Token;
use redis::Script;
use redis_link::Link;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/take.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/renew.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/release.lua")));

/// A lock in Redis, as one contender sees it.
#[derive(Clone)]
pub(crate) struct Place {
    connection: Link,
    name: String,
    key: String,
    /// Not the token: a take that is repeated because its answer was lost must know itself.
    owner: String,
    lease: Duration,
}

/// What Redis may believe to be ours until this is dropped.
pub(crate) struct Claim {
    place: Place,
    /// Whether it may.
    is_open: bool,
    runtime: Handle,
}

/// A lock that was had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) token: Token,
    /// By our own clock, and before Redis was asked: so its end comes before the end that Redis knows.
    pub(crate) until: Instant,
}

/// What a try came to.
pub(crate) enum Tried {
    Had(Hold),
    /// Somebody has it, for so long unless they renew.
    Taken {
        left: Duration,
    },
}

impl Place {
    pub(crate) fn new(connection: Link, name: &str, key: String, lease: Duration) -> Self {
        let owner = Uuid::new_v4().to_string();
        Self { connection, name: name.to_owned(), key, owner, lease }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    pub(crate) fn channel(&self) -> String {
        format!("{}:released", self.key)
    }

    /// Renews the lease; `None` when the lock is no longer ours.
    pub(crate) async fn renew(&self) -> Result<Option<Instant>, Error> {
        let asked = Instant::now();
        let mut call = RENEW.key(&self.key);
        call.arg(&self.owner).arg(self.lease_ms());
        let ours: bool = call.invoke_async(&mut self.connection.clone()).await?;
        Ok(ours.then(|| asked + self.lease))
    }

    async fn take(&self) -> Result<Tried, Error> {
        let asked = Instant::now();
        let mut call = TAKE.key(&self.key);
        call.key(format!("{}:token", self.key)).arg(&self.owner).arg(self.lease_ms());
        let (ours, number): (bool, i64) = call.invoke_async(&mut self.connection.clone()).await?;
        if ours {
            return Ok(Tried::Had(Hold { token: Token(number), until: asked + self.lease }));
        }
        // Redis rounds down, and a key without an end is somebody's mistake.
        let left = u64::try_from(number).map_or(self.lease, Duration::from_millis);
        Ok(Tried::Taken { left: left + Duration::from_millis(1) })
    }

    /// Tells whether it was ours until now.
    async fn release(&self) -> Result<bool, Error> {
        let mut call = RELEASE.key(&self.key);
        call.arg(&self.owner).arg(self.channel());
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Claim {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, is_open: false, runtime: Handle::current() }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) async fn take(&mut self) -> Result<Tried, Error> {
        self.is_open = true;
        let tried = self.place.take().await?;
        self.is_open = matches!(tried, Tried::Had(_));
        Ok(tried)
    }

    /// Gives it back; tells whether it was ours until now.
    pub(crate) async fn release(mut self) -> Result<bool, Error> {
        let was_ours = self.place.release().await?;
        self.is_open = false;
        Ok(was_ours)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let place = self.place.clone();
        self.runtime.spawn(async move {
            if let Err(error) = place.release().await {
                let name = place.name();
                tracing::warn!(%error, name, "a lock was not given back; its lease ends by itself");
            }
        });
    }
}
