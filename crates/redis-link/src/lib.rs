//! Connections to Redis that never wait without a deadline.
//!
//! The driver's own `ConnectionManager` keeps a connection whose commands time out: where a firewall or a frozen host
//! swallows packets without closing the connection, it would stay with it until the kernel gives up, a quarter of an hour
//! later. A [`Link`] drops a connection at the first command that is not answered in time, and connects anew.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisFuture, RedisResult, ServerErrorKind, Value,
};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a connection may take to be made, the handshake included.
pub const CONNECT: Duration = Duration::from_secs(1);
/// After an attempt to connect that failed, commands fail at once for so long.
const REST: Duration = Duration::from_millis(50);
/// Silence after which the kernel asks whether the other side is still there, and how often.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the kernel waits for bytes that it sent to be acknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A client whose sockets notice by themselves when the other side is gone.
///
/// # Errors
/// A URL that is none.
pub fn client(url: impl IntoConnectionInfo) -> RedisResult<Client> {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(2);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(UNACKNOWLEDGED);
    Client::open(url.into_connection_info()?.set_tcp_settings(settings))
}

/// One shared connection to Redis, made when first used and again when it is lost or silent. Cheap to clone.
///
/// All commands share the connection; the driver matches answers to them, also when a caller gives up on one.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    client: Client,
    within: Duration,
    slot: Mutex<Slot>,
}

/// A connection that is being made, or was.
struct Slot {
    /// Numbers the attempts, so that who found one of no use discards no later one.
    number: u64,
    attempt: Option<Attempt>,
    /// When the last attempt that failed was over, and why it failed.
    failed: Option<(Instant, RedisError)>,
}

type Attempt = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

impl Link {
    /// A link to the Redis of this client. Each command, or pipeline, has `within` to be answered, connecting included.
    ///
    /// Must be used within a tokio runtime.
    ///
    /// # Errors
    /// A client whose settings make no sense.
    pub fn new(client: &Client, within: Duration) -> RedisResult<Self> {
        let client = self::client(client.get_connection_info().clone())?;
        let slot = Mutex::new(Slot { number: 0, attempt: None, failed: None });
        Ok(Self(Arc::new(Inner { client, within, slot })))
    }

    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let until = Instant::now() + self.0.within;
        let (number, attempt) = self.attempt()?;
        let outcome = timeout_at(until, async {
            let mut connection = attempt.await?;
            command(&mut connection).await
        });
        let outcome = outcome.await.unwrap_or_else(|_| Err(silent(self.0.within)));
        if let Err(error) = &outcome
            && is_of_no_use(error)
        {
            self.discard(number, error);
        }
        outcome
    }

    /// The present connection, or the attempt at one; begins one where there is none.
    fn attempt(&self) -> RedisResult<(u64, Attempt)> {
        let mut slot = self.slot();
        if let Some(attempt) = &slot.attempt {
            return Ok((slot.number, attempt.clone()));
        }
        if let Some((at, error)) = &slot.failed
            && at.elapsed() < REST
        {
            return Err(error.clone());
        }
        slot.number = slot.number.wrapping_add(1);
        let (link, number) = (self.clone(), slot.number);
        let attempt = async move {
            let made = link.connect().await;
            if let Err(error) = &made {
                link.discard(number, error);
            }
            made
        };
        let attempt = attempt.boxed().shared();
        slot.attempt = Some(attempt.clone());
        // It goes on when the caller who began it gives up.
        tokio::spawn(attempt.clone().map(drop));
        Ok((number, attempt))
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let within = self.0.within.max(CONNECT);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(within));
        let made = self.0.client.get_multiplexed_async_connection_with_config(&config);
        tokio::time::timeout(CONNECT, made).await.unwrap_or_else(|_| Err(silent(CONNECT)))
    }

    /// Drops the connection, unless it is another by now. Who still waits for an answer on it may get it.
    fn discard(&self, number: u64, error: &RedisError) {
        let mut slot = self.slot();
        if slot.number == number {
            slot.attempt = None;
            slot.failed = Some((Instant::now(), error.clone()));
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let command = async |it: &mut MultiplexedConnection| it.req_packed_command(cmd).await;
        self.run(command).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let commands = async move |it: &mut MultiplexedConnection| {
            it.req_packed_commands(pipeline, offset, count).await
        };
        self.run(commands).boxed()
    }

    fn get_db(&self) -> i64 {
        self.0.client.get_connection_info().redis_settings().db()
    }
}

/// Whether nothing is to be hoped for from the connection: it is lost, silent, or leads to a server that is no longer the
/// one that takes writes.
fn is_of_no_use(error: &RedisError) -> bool {
    let demoted = [
        ErrorKind::Server(ServerErrorKind::ReadOnly),
        ErrorKind::Server(ServerErrorKind::MasterDown),
    ];
    error.is_io_error() || error.is_unrecoverable_error() || demoted.contains(&error.kind())
}

fn silent(within: Duration) -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {within:?}")).into()
}
