//! One connection of its own, for a lane.

use crate::opener::{Commits, Opener, SessionId};
use crate::{Conn, Error, Result, Script};
use diesel_async::SimpleAsyncConnection;
use std::sync::Arc;

/// A connection outside the pool that can be ended from outside, so that a lost COMMIT can be settled by killing it.
///
/// A transaction begins by itself with the first statement after the last one ended: there is no BEGIN to wait for, and
/// whoever reads must commit or roll back, or the server keeps the tables from being altered.
///
/// One that is dropped while a reply is due on it is killed in the background, since it may hold row locks.
pub struct Session {
    conn: Conn,
}

impl Session {
    /// Opens a session whose locks the server releases after 5 s of silence; ping it when idle.
    ///
    /// # Errors
    /// [`Error::Lost`] when the server does not answer; [`Error::Unfit`] for one that cannot be used.
    pub(crate) async fn open(opener: &Arc<Opener>) -> Result<Self> {
        let mut conn = opener.open(Commits::WhenTold).await?;
        conn.holds_locks(true);
        Ok(Self { conn })
    }

    /// The connection.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// What this session is known by, for [`crate::Db::kill`].
    pub fn id(&self) -> SessionId {
        self.conn.id()
    }

    /// Keeps the session alive.
    ///
    /// # Errors
    /// [`Error::Lost`] when the session is of no more use, also because its server takes no more writes.
    pub async fn ping(&mut self) -> Result<()> {
        self.conn.validate().await
    }

    /// Runs these writes and commits, in one message.
    ///
    /// # Errors
    /// That of the first write that failed: nothing was committed, and a rollback is due. [`Error::TooLarge`] when they are
    /// more than one message may hold: nothing was sent. [`Error::CommitUnknown`] when the connection was lost on the way.
    pub async fn commit(&mut self, writes: Script) -> Result<()> {
        commit(&mut self.conn, writes).await
    }

    /// Rolls back; the session is of no more use when this fails.
    pub async fn rollback(&mut self) -> Result<()> {
        Ok(self.conn.batch_execute("ROLLBACK").await?)
    }
}

pub(crate) async fn commit(conn: &mut Conn, writes: Script) -> Result<()> {
    let text = writes.and_commit()?;
    // Where the last reply was not read nothing is sent, so nothing is unknown.
    let could_be_sent = conn.is_usable();
    match conn.batch_execute(&text).await.map_err(Error::from) {
        Err(Error::Lost(text)) if could_be_sent => Err(Error::CommitUnknown(text)),
        other => other,
    }
}
