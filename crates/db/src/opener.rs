//! Opens connections to wherever the address points, and knows what befell those before.

use crate::server::{Facts, Unfit, is_on, number};
use crate::{Conn, Error, Options, Result};
use diesel_async::SimpleAsyncConnection;
use secrecy::ExposeSecret;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tracing::{debug, error, warn};

/// What a service's connections are set to: READ COMMITTED, short lock waits, strict SQL, and nothing that the server's own
/// configuration could have changed under them. After five seconds of silence the server ends the session, and releases
/// the row locks of a frozen process. (Tests look for COMMIT in what passes: it must not be found here.)
const SETUP: &str = "SET SESSION TRANSACTION ISOLATION LEVEL read committed; \
    SET SESSION innodb_lock_wait_timeout = 2, \
    SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
    SESSION completion_type = 'NO_CHAIN', SESSION unique_checks = 1, \
    SESSION sql_safe_updates = 0, SESSION net_read_timeout = 5, SESSION wait_timeout = 5";
/// A server that does not answer a question as small as this within that is not waited for. It is less than callers wait for
/// a connection, so that whoever asks learns the answer.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// Moves from one server to another within [`MOVES_WITHIN`] that a failover may need, and not more.
const MOST_MOVES: usize = 4;
const MOVES_WITHIN: Duration = Duration::from_secs(30);
/// Sessions that are ended behind their owners' backs at once; the others end by their own time-out.
const ENDING_AT_ONCE: usize = 4;
/// How often a killed session is looked for until it has ended.
const LOOKS: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A session, by the name of a lock that it holds as long as it lives.
///
/// Connection ids are the server's own: after a failover, a restart or through a proxy the same id is a stranger's. The
/// name is found on no other server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionId(Option<u128>);

/// How a connection treats its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commits {
    /// Each by itself, unless it says BEGIN.
    EachStatement,
    /// None by itself.
    WhenTold,
}

/// One address, and what is known of the servers behind it.
pub(crate) struct Opener {
    options: Options,
    born: Instant,
    /// Raised when connections opened before have to go.
    generation: AtomicU64,
    /// Microseconds since `born`: connections last used before are not used again.
    suspected: AtomicU64,
    asks_read_only: AtomicBool,
    moves: Mutex<Moves>,
    last_failure: Mutex<Option<(Instant, String)>>,
    ending: Semaphore,
}

#[derive(Default)]
struct Moves {
    place: Option<String>,
    recent: VecDeque<Instant>,
}

impl Opener {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            born: Instant::now(),
            generation: AtomicU64::new(0),
            suspected: AtomicU64::new(0),
            asks_read_only: AtomicBool::new(false),
            moves: Mutex::default(),
            last_failure: Mutex::default(),
            ending: Semaphore::new(ENDING_AT_ONCE),
        }
    }

    /// A connection that is set up, to a server that is fit.
    pub(crate) async fn open(self: &Arc<Self>, commits: Commits) -> Result<Conn> {
        // What is learned while this one is opened counts for it, too.
        let opened = self.open_checked(commits).await;
        if let Err(error) = &opened {
            // Who starts on it is told so by the error; later there are callers only, who are told nothing of servers.
            let served =
                || self.moves.lock().unwrap_or_else(PoisonError::into_inner).place.is_some();
            if let Error::Unfit(unfit) = error
                && served()
            {
                error!(%unfit, "the database server is refused");
            }
            let failure = Some((Instant::now(), error.to_string()));
            *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        }
        opened
    }

    async fn open_checked(self: &Arc<Self>, commits: Commits) -> Result<Conn> {
        let Options { connect_timeout, statement_timeout, accepts_read_only, .. } = self.options;
        let mut conn = self.connect().await?;
        conn.set_statement_timeout(connect_timeout);
        let autocommit = if commits == Commits::EachStatement { "1" } else { "0" };
        let settings = format!("{SETUP}, SESSION autocommit = {autocommit}");
        let facts = Facts::read(&mut conn, &settings).await?;
        facts.check(&mut conn).await?;
        if !accepts_read_only && facts.is_read_only() == Some(true) {
            return Err(Error::Lost("the server is read-only".to_owned()));
        }
        let asks = !accepts_read_only && facts.is_read_only().is_some();
        self.asks_read_only.store(asks, Ordering::Relaxed);
        let generation = self.arrive(facts.place())?;
        conn.limit_bytes(facts.max_allowed_packet);
        let id = if facts.ends_sessions() { name(&mut conn).await? } else { SessionId(None) };
        if commits == Commits::WhenTold {
            conn.batch_execute("ROLLBACK").await?;
        }
        conn.belongs_to(self, generation, id);
        conn.set_statement_timeout(statement_timeout);
        Ok(conn)
    }

    async fn connect(&self) -> Result<Conn> {
        let Options { url, connect_timeout, statement_timeout, .. } = &self.options;
        Ok(Conn::open(url.expose_secret(), *connect_timeout, *statement_timeout).await?)
    }

    /// Asks a connection whether it lives, and whether its server still takes writes.
    pub(crate) async fn validate(&self, conn: &mut Conn) -> Result<()> {
        let usual = conn.set_statement_timeout(PING_TIMEOUT);
        let is_read_only = self.is_read_only(conn).await;
        conn.set_statement_timeout(usual);
        if is_read_only? {
            conn.discard();
            self.moved();
            return Err(Error::Lost("the server became read-only".to_owned()));
        }
        Ok(())
    }

    async fn is_read_only(&self, conn: &mut Conn) -> Result<bool> {
        if !self.asks_read_only.load(Ordering::Relaxed) {
            conn.ping().await?;
            return Ok(false);
        }
        // It reads no table, so that it begins no transaction, and it ends none: locks that are held are kept.
        Ok(is_on(&conn.ask("SELECT @@GLOBAL.read_only").await?))
    }

    /// Connections of an earlier generation are not used again.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether a connection was lost since then.
    pub(crate) fn suspects(&self, last_used: Instant) -> bool {
        self.micros(last_used) <= self.suspected.load(Ordering::Relaxed)
    }

    /// A connection was lost: so may be those that rest, and to open a new one is faster than to find out.
    pub(crate) fn suspect(&self) {
        self.suspected.fetch_max(self.micros(Instant::now()), Ordering::Relaxed);
    }

    /// The server is not the one any more that takes writes: all connections have to go.
    pub(crate) fn moved(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Why no connection was opened lately, where one was tried.
    pub(crate) fn recent_failure(&self, within: Duration) -> Option<String> {
        let failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().filter(|(at, _)| at.elapsed() <= within).map(|(_, text)| text.clone())
    }

    /// Ends a session and waits for its end, so that its transaction is over. Does nothing where it lives no more, or on
    /// another server than the address leads to: there its own time-out ends it.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer, or the session is still there after two seconds.
    pub(crate) async fn end(&self, id: SessionId) -> Result<()> {
        let SessionId(Some(name)) = id else { return Ok(()) };
        let mut conn = self.connect().await?;
        let ask = format!("SELECT IS_USED_LOCK('{}')", lock_name(name));
        let mut was_told = false;
        for _ in 0..LOOKS {
            let Some(number) = number(&conn.ask(&ask).await?) else { return Ok(()) };
            if !was_told {
                debug!(session = number, "lost session is killed");
                // One that has ended meanwhile is unknown, which is as well.
                match conn.batch_execute(&format!("KILL {number}")).await.map_err(Error::from) {
                    Ok(()) | Err(Error::Server(_)) => was_told = true,
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Error::Lost("a session that was killed is still there".to_owned()))
    }

    /// Ends a session whose owner has gone, in a task of its own.
    pub(crate) fn end_behind(self: &Arc<Self>, id: SessionId) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let opener = Arc::clone(self);
        runtime.spawn(async move {
            let Ok(_place) = opener.ending.try_acquire() else { return };
            if let Err(error) = opener.end(id).await {
                debug!(%error, "lost session could not be killed: its own time-out ends it");
            }
        });
    }

    /// Takes note of a server that a new connection leads to, and returns the generation that the connection is of.
    fn arrive(&self, at: String) -> Result<u64, Unfit> {
        let mut moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = moves.place.as_ref().filter(|place| **place != at) else {
            moves.place = Some(at);
            return Ok(self.generation());
        };
        let one = place.clone();
        moves.recent.retain(|at| at.elapsed() <= MOVES_WITHIN);
        if moves.recent.len() >= MOST_MOVES {
            return Err(Unfit::SeveralServers { one, other: at });
        }
        warn!(from = one, to = at, "the database's address leads to another server");
        moves.recent.push_back(Instant::now());
        moves.place = Some(at);
        self.moved();
        Ok(self.generation())
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// Gives the session a name by which it can be found; none where the server has no such locks.
async fn name(conn: &mut Conn) -> Result<SessionId> {
    let name = rand::random::<u128>();
    let taken = conn.ask(&format!("SELECT GET_LOCK('{}', 0)", lock_name(name))).await;
    match taken.map_err(Error::from) {
        Ok(rows) if number(&rows) == Some(1) => Ok(SessionId(Some(name))),
        Ok(_) | Err(Error::Server(_)) => Ok(SessionId(None)),
        Err(error) => Err(error),
    }
}

fn lock_name(name: u128) -> String {
    format!("commerce.{name:032x}")
}

impl SessionId {
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "SessionId({name:032x})"),
            None => f.write_str("SessionId(none)"),
        }
    }
}
