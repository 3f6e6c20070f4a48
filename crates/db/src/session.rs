//! One connection of its own, for a lane.

use crate::{Conn, Error, Result, Script};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

/// What every connection is set to: READ COMMITTED, short lock waits, strict SQL.
pub(crate) const SETUP: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
    SET SESSION innodb_lock_wait_timeout = 2; \
    SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// After this many seconds of silence the server ends a session and releases the row locks of a frozen process.
const SILENCE_SECONDS: u32 = 5;

/// A connection outside the pool that knows its server-side id, so that a lost COMMIT can be settled by killing it.
///
/// A transaction begins by itself with the first statement after the last one ended: there is no BEGIN to wait for, and
/// whoever reads must commit or roll back, or the server keeps the tables from being altered.
pub struct Session {
    conn: Conn,
    id: u64,
}

diesel::define_sql_function! {
    /// The server's id of this connection.
    fn connection_id() -> Unsigned<BigInt>;
}

impl Session {
    /// Opens a session whose locks the server releases after 5 s of silence; ping it when idle.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let mut conn = Conn::establish(url).await?;
        conn.batch_execute(SETUP).await?;
        let own = format!("SET SESSION wait_timeout = {SILENCE_SECONDS}, SESSION autocommit = 0");
        conn.batch_execute(&own).await?;
        let id = diesel::select(connection_id()).get_result::<u64>(&mut conn).await?;
        conn.batch_execute("ROLLBACK").await?;
        Ok(Self { conn, id })
    }

    /// The connection.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// The server's id of this connection, for KILL.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Keeps the session alive.
    pub async fn ping(&mut self) -> Result<()> {
        Ok(self.conn.batch_execute("DO 0").await?)
    }

    /// Runs these writes and commits, in one message.
    ///
    /// # Errors
    /// That of the first write that failed: nothing was committed, and a rollback is due. [`Error::CommitUnknown`] when the
    /// connection was lost on the way.
    pub async fn commit(&mut self, writes: Script) -> Result<()> {
        commit(&mut self.conn, writes).await
    }

    /// Rolls back; the session is of no more use when this fails.
    pub async fn rollback(&mut self) -> Result<()> {
        Ok(self.conn.batch_execute("ROLLBACK").await?)
    }
}

pub(crate) async fn commit(conn: &mut Conn, writes: Script) -> Result<()> {
    match conn.batch_execute(&writes.and_commit()?).await.map_err(Error::from) {
        Err(Error::Lost(text)) => Err(Error::CommitUnknown(text)),
        other => other,
    }
}
