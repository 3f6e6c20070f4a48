//! The pool, with the cures that a plain one lacks: fair turns, cancel-safe return, and no question on a warm checkout.
//!
//! A query that is dropped in the middle leaves its reply in the socket, and the next user of that connection would be
//! handed it. The connection itself refuses to be used then ([`Conn`]); besides, it counts as dirty from checkout until its
//! use has ended, and dirty ones are discarded.

use crate::clock::{self, Clock};
use crate::opener::{Commits, Opener, SessionId};
use crate::session::Session;
use crate::{Conn, Error, Result};
use bb8::{ManageConnection, QueueStrategy};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A connection that rested longer is asked whether it still lives. The server ends it after 5 s.
const REST: Duration = Duration::from_secs(2);
/// One that never rests is asked after this time whether its server still takes writes.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// One that nobody needed for this long is closed, before the server does it.
const IDLE: Duration = Duration::from_secs(3);
const LOOK_FOR_IDLE_EVERY: Duration = Duration::from_secs(1);

/// How a service reaches its schema.
#[derive(Debug, Clone)]
pub struct Options {
    /// `mysql://user:password@host:port/schema`, or `mysql://user@localhost/schema?socket=PATH`.
    pub url: SecretString,
    /// Connections of the pool, 1 to 1,000.
    pub pool_size: u32,
    /// How long a call waits for a connection before it is refused as [`Error::Busy`].
    pub acquire_timeout: Duration,
    /// How long a new connection may take until it is ready.
    pub connect_timeout: Duration,
    /// How long one statement may take, its wait for locks and a COMMIT included. After that the connection is lost.
    pub statement_timeout: Duration,
    /// Whether a server is good enough that takes no writes, as for an audit of a replica.
    pub accepts_read_only: bool,
}

impl Options {
    /// Options with a pool of 8 connections and a wait of 1 s at most; 5 s for a new connection, and 5 s for a statement.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            pool_size: 8,
            acquire_timeout: Duration::from_secs(1),
            connect_timeout: crate::conn::CONNECT_TIMEOUT,
            statement_timeout: Duration::from_secs(5),
            accepts_read_only: false,
        }
    }
}

/// An async closure whose future is `Send`: what [`Db::read`] and [`Db::tx`] take.
pub trait SendAsyncFn<T, R>:
    AsyncFnOnce(T) -> R + FnOnce(T) -> <Self as SendAsyncFn<T, R>>::Fut
{
    /// The closure's future.
    type Fut: Future<Output = R>;
}

impl<F, T, Fut, R> SendAsyncFn<T, R> for F
where
    F: AsyncFnOnce(T) -> R + FnOnce(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// One schema's database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: bb8::Pool<Manager>,
    turns: Arc<Semaphore>,
    opener: Arc<Opener>,
    acquire_timeout: Duration,
    clock: Arc<clock::State>,
}

pub(crate) struct Manager(Arc<Opener>);

pub(crate) struct Pooled {
    pub(crate) conn: Conn,
    pub(crate) clean: bool,
    pub(crate) last_used: Instant,
    /// When it was last known that its server takes writes.
    asked: Instant,
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = Error;

    async fn connect(&self) -> Result<Pooled> {
        let conn = self.0.open(Commits::EachStatement).await?;
        let now = Instant::now();
        Ok(Pooled { conn, clean: true, last_used: now, asked: now })
    }

    async fn is_valid(&self, pooled: &mut Pooled) -> Result<()> {
        if self.0.suspects(pooled.last_used) {
            return Err(Error::Lost("another connection was lost since".to_owned()));
        }
        if pooled.last_used.elapsed() < REST && pooled.asked.elapsed() < ASK_EVERY {
            return Ok(());
        }
        pooled.conn.validate().await?;
        pooled.asked = Instant::now();
        pooled.last_used = pooled.asked;
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        !pooled.clean || !pooled.conn.is_usable()
    }
}

impl Db {
    /// A database whose connections are opened when first needed.
    ///
    /// # Errors
    /// None today; the signature leaves room for checks.
    pub async fn open(options: Options) -> Result<Self> {
        let Options { pool_size, acquire_timeout, .. } = options;
        let opener = Arc::new(Opener::new(options));
        let pool = bb8::Pool::builder()
            .max_size(pool_size)
            .connection_timeout(acquire_timeout)
            .test_on_check_out(true)
            // The one that was used last is used again, so that the others get old and are closed.
            .queue_strategy(QueueStrategy::Lifo)
            .idle_timeout(IDLE)
            .reaper_rate(LOOK_FOR_IDLE_EVERY)
            .build(Manager(Arc::clone(&opener)))
            .await?;
        let size = usize::try_from(pool_size).unwrap_or(1);
        let turns = Arc::new(Semaphore::new(size));
        Ok(Self { pool, turns, opener, acquire_timeout, clock: Arc::default() })
    }

    /// Runs reads (or one autocommitted statement) on a pooled connection.
    ///
    /// # Errors
    /// Those of the closure; [`Error::Busy`] when no connection became free.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        E: From<Error>,
        F: for<'c> SendAsyncFn<&'c mut Conn, Result<T, E>, Fut: Send> + Send,
    {
        let (_turn, mut pooled) = self.checkout().await?;
        pooled.clean = false;
        let result = work(&mut pooled.conn).await;
        // A driver that failed half-way is indistinguishable here from a business refusal, so only success is clean.
        pooled.clean = result.is_ok();
        pooled.last_used = Instant::now();
        result
    }

    /// A connection of its own, for a lane.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer; [`Error::Unfit`] for one that cannot be used.
    pub async fn session(&self) -> Result<Session> {
        Session::open(&self.opener).await
    }

    /// Ends a session and waits until it has ended. One that is gone already counts as ended; so does one on another server
    /// than the address leads to now, which is left to its own time-out of 5 s.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer, or the session does not end.
    pub async fn kill(&self, id: SessionId) -> Result<()> {
        self.opener.end(id).await
    }

    /// The database's clock, and what may be concluded from it.
    pub fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }

    pub(crate) fn clock_state(&self) -> &clock::State {
        &self.clock
    }

    pub(crate) async fn checkout(
        &self,
    ) -> Result<(SemaphorePermit<'_>, bb8::PooledConnection<'_, Manager>)> {
        let turn = tokio::time::timeout(self.acquire_timeout, self.turns.acquire())
            .await
            .map_err(|_| Error::Busy)?
            .map_err(|_| Error::Busy)?;
        let pooled = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => error,
            // Nobody waits for a turn that another has, so it was the opening of a connection that took too long.
            bb8::RunError::TimedOut => self
                .opener
                .recent_failure(self.acquire_timeout * 2)
                .map_or(Error::Busy, Error::Lost),
        })?;
        Ok((turn, pooled))
    }
}
