//! The pool, with the three cures that a plain one lacks: fair turns, cancel-safe return, no ping on a warm checkout.
//!
//! A query that is dropped in the middle leaves its reply in the socket, and the next user of that connection would be
//! handed it. So a connection counts as dirty from checkout until its use has ended, and dirty ones are discarded.

use crate::clock::{self, Clock};
use crate::session::{SETUP, Session, commit};
use crate::{Conn, Error, Result, Script};
use bb8::ManageConnection;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A connection that rested longer is asked whether it still lives.
const REST: Duration = Duration::from_secs(5);
/// A transaction that keeps conflicting gives up after this many runs.
const MAX_RUNS: u32 = 8;

/// How a service reaches its schema.
#[derive(Debug, Clone)]
pub struct Options {
    /// `mysql://user:password@host:port/schema`.
    pub url: SecretString,
    /// Connections of the pool, 1 to 1,000.
    pub pool_size: u32,
    /// How long a call waits for a connection before it is refused as [`Error::Busy`].
    pub acquire_timeout: Duration,
}

impl Options {
    /// Options with a pool of 8 connections and a wait of 1 s at most.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            pool_size: 8,
            acquire_timeout: Duration::from_secs(1),
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
    options: Arc<Options>,
    clock: Arc<clock::State>,
}

struct Manager {
    url: SecretString,
}

struct Pooled {
    conn: Conn,
    clean: bool,
    last_used: Instant,
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = Error;

    async fn connect(&self) -> Result<Pooled> {
        let mut conn = Conn::establish(self.url.expose_secret()).await?;
        conn.batch_execute(SETUP).await?;
        Ok(Pooled { conn, clean: true, last_used: Instant::now() })
    }

    async fn is_valid(&self, pooled: &mut Pooled) -> Result<()> {
        if pooled.last_used.elapsed() < REST {
            return Ok(());
        }
        Ok(pooled.conn.batch_execute("DO 0").await?)
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        !pooled.clean
    }
}

impl Db {
    /// A database whose connections are opened when first needed.
    ///
    /// # Errors
    /// None today; the signature leaves room for checks.
    pub async fn open(options: Options) -> Result<Self> {
        let manager = Manager { url: options.url.clone() };
        let pool = bb8::Pool::builder()
            .max_size(options.pool_size)
            .connection_timeout(options.acquire_timeout)
            .test_on_check_out(true)
            .build(manager)
            .await?;
        let size = usize::try_from(options.pool_size).unwrap_or(1);
        let turns = Arc::new(Semaphore::new(size));
        Ok(Self { pool, turns, options: Arc::new(options), clock: Arc::default() })
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

    /// Runs a transaction, and again from the start when it conflicts with another.
    ///
    /// A copy of the closure runs each time; it must not change anything outside the connection. A refusal (`Err` that is
    /// no conflict) rolls back.
    ///
    /// # Errors
    /// Those of the closure; [`Error::Busy`]; [`Error::CommitUnknown`] when the connection was lost during COMMIT.
    pub async fn tx<T, E, F>(&self, work: F) -> Result<T, E>
    where
        E: From<Error> + AsConflict,
        F: for<'c> SendAsyncFn<&'c mut Conn, Result<T, E>, Fut: Send> + Clone + Send,
    {
        let (_turn, mut pooled) = self.checkout().await?;
        pooled.clean = false;
        for run in 1.. {
            let result = attempt(&mut pooled.conn, work.clone()).await;
            pooled.last_used = Instant::now();
            match result {
                Ok(value) => {
                    pooled.clean = true;
                    return Ok(value);
                }
                Err(error) => {
                    // Not worth keeping a connection on which a rollback fails.
                    let rolled_back = pooled.conn.batch_execute("ROLLBACK").await.is_ok();
                    if !(rolled_back && error.is_conflict() && run < MAX_RUNS) {
                        pooled.clean = rolled_back;
                        return Err(error);
                    }
                }
            }
            let pause = rand::rng().random_range(0..(1_u64 << run.min(6)));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Err(Error::Busy.into())
    }

    /// A connection of its own, for a lane.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer.
    pub async fn session(&self) -> Result<Session> {
        Session::open(self.options.url.expose_secret()).await
    }

    /// Ends a session by its server-side id; one that is gone already counts as ended.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer.
    pub async fn kill(&self, id: u64) -> Result<()> {
        let mut session = self.session().await?;
        match session.conn().batch_execute(&format!("KILL {id}")).await.map_err(Error::from) {
            Err(Error::Server(text)) if text.contains("Unknown thread id") => Ok(()),
            other => other,
        }
    }

    /// The database's clock, and what may be concluded from it.
    pub fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }

    pub(crate) fn clock_state(&self) -> &clock::State {
        &self.clock
    }

    async fn checkout(
        &self,
    ) -> Result<(tokio::sync::SemaphorePermit<'_>, bb8::PooledConnection<'_, Manager>)> {
        let turn = tokio::time::timeout(self.options.acquire_timeout, self.turns.acquire())
            .await
            .map_err(|_| Error::Busy)?
            .map_err(|_| Error::Busy)?;
        let pooled = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => error,
            bb8::RunError::TimedOut => Error::Busy,
        })?;
        Ok((turn, pooled))
    }
}

/// Tells [`Db::tx`] which errors of a closure mean "run it again".
pub trait AsConflict {
    /// Whether the transaction conflicted with another one.
    fn is_conflict(&self) -> bool;
}

impl AsConflict for Error {
    fn is_conflict(&self) -> bool {
        Self::is_conflict(self)
    }
}

async fn attempt<T, E, F>(conn: &mut Conn, work: F) -> Result<T, E>
where
    E: From<Error>,
    F: for<'c> SendAsyncFn<&'c mut Conn, Result<T, E>, Fut: Send>,
{
    conn.batch_execute("BEGIN").await.map_err(Error::from)?;
    let value = work(&mut *conn).await?;
    commit(conn, Script::default()).await?;
    Ok(value)
}
