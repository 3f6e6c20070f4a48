//! One try of a batch on the lane's connection, and what its failure means.

use crate::entry::Entry;
use crate::health::Achieved;
use crate::queue::Queue;
use crate::{Decided, Work};
use db::{Conflict, LockWait, Session};
use diesel_async::SimpleAsyncConnection;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// No try takes longer: the server ends a session that is silent for as long, so that nothing is held for it any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long ending a lost session may take.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long a statement waits for a row that somebody else has locked, in seconds: the least that MySQL knows.
const LOCK_WAIT_SECONDS: u32 = 1;

/// The connection of a lane, and what runs on it.
pub(crate) struct Runner<W: Work> {
    db: db::Db,
    work: Arc<W>,
    queue: Arc<Queue<W>>,
    session: Option<Session>,
}

/// Why one try of a batch was not committed.
pub(crate) struct Failed {
    pub(crate) kind: Kind,
    pub(crate) error: db::Error,
}

/// What a failure means for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody else holds a lock on a row of the batch.
    Locked,
    /// It met another transaction.
    Conflict,
    /// The database cannot be reached: the batch has no part in it.
    Unreachable,
    /// The connection was lost while the batch ran.
    Lost,
    /// The server refused something in it, or it panicked.
    Refused,
}

impl<W: Work> Runner<W> {
    pub(crate) fn new(db: db::Db, work: Arc<W>, queue: Arc<Queue<W>>) -> Self {
        Self { db, work, queue, session: None }
    }

    /// Keeps the session alive; finds out whether the database is back, if it was gone.
    pub(crate) async fn ping(&mut self) {
        if self.session.is_none() && !self.queue.is_failing() {
            return;
        }
        let ping = async {
            let session = self.session().await?;
            session.ping().await
        };
        let heard = tokio::time::timeout(PATIENCE, ping).await;
        if matches!(heard, Ok(Ok(()))) {
            self.queue.note(Achieved::success);
        } else {
            self.session = None;
            self.queue.note(Achieved::failure);
        }
    }

    /// Runs these operations in one transaction.
    pub(crate) async fn attempt(
        &mut self,
        part: &mut [Entry<W>],
        wait: LockWait,
    ) -> Result<Vec<W::Reply>, Failed> {
        let opened = tokio::time::timeout(PATIENCE, self.session()).await;
        if let Err(error) = opened.unwrap_or_else(|_| Err(no_answer())).map(|_| ()) {
            self.queue.note(Achieved::failure);
            return Err(Failed { kind: Kind::Unreachable, error });
        }
        let transaction = AssertUnwindSafe(self.transact(part, wait)).catch_unwind();
        let error = match tokio::time::timeout(PATIENCE, transaction).await {
            Ok(Ok(Ok(replies))) => {
                self.queue.note(Achieved::success);
                return Ok(replies);
            }
            Ok(Ok(Err(error))) => error,
            // Both may have been in the middle of COMMIT.
            Ok(Err(_)) => {
                self.queue.note(Achieved::panic);
                error!(
                    lane = self.queue.name(),
                    operations = part.len(),
                    "running a batch panicked"
                );
                self.kill_lost_session(part).await;
                let error = db::Error::Corrupt("running it panicked".to_owned());
                return Err(Failed { kind: Kind::Refused, error });
            }
            Err(_) => db::Error::CommitUnknown("no answer in time".to_owned()),
        };
        self.clean_up(part, &error).await;
        Err(Failed { kind: self.judge(&error), error })
    }

    fn judge(&self, error: &db::Error) -> Kind {
        if error.is_conflict() {
            self.queue.note(Achieved::conflict);
            let is_locked = matches!(error, db::Error::Conflict(Conflict::LockTimeout));
            return if is_locked { Kind::Locked } else { Kind::Conflict };
        }
        self.queue.note(Achieved::failure);
        if error.is_lost() || matches!(error, db::Error::Busy) {
            return Kind::Lost;
        }
        Kind::Refused
    }

    async fn clean_up(&mut self, part: &mut [Entry<W>], error: &db::Error) {
        if let db::Error::CommitUnknown(_) = error {
            self.kill_lost_session(part).await;
        } else if error.is_lost() {
            self.session = None;
        } else {
            self.roll_back().await;
        }
    }

    async fn session(&mut self) -> db::Result<&mut Session> {
        if self.session.is_none() {
            let mut session = self.db.session().await?;
            let wait = format!("SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}");
            session.conn().batch_execute(&wait).await?;
            self.session = Some(session);
        }
        self.session.as_mut().ok_or(db::Error::Busy)
    }

    async fn transact(&mut self, part: &[Entry<W>], wait: LockWait) -> db::Result<Vec<W::Reply>> {
        let Some(session) = &mut self.session else { return Err(db::Error::Busy) };
        let ops: Vec<&W::Op> = part.iter().map(|entry| &entry.op).collect();
        let Decided { replies, writes } = self.work.run(session.conn(), &ops, wait).await?;
        // An answer that does not fit the questions must never be committed.
        if replies.len() != ops.len() {
            let (replies, operations) = (replies.len(), ops.len());
            let what = format!("{replies} replies for {operations} operations");
            return Err(db::Error::Corrupt(what));
        }
        session.commit(writes).await?;
        Ok(replies)
    }

    async fn roll_back(&mut self) {
        let Some(session) = &mut self.session else { return };
        let rolled_back = tokio::time::timeout(PATIENCE, session.rollback()).await;
        if !matches!(rolled_back, Ok(Ok(()))) {
            self.session = None;
        }
    }

    /// Makes sure that the lost transaction is over, one way or the other, as far as the server lets us know.
    async fn kill_lost_session(&mut self, part: &mut [Entry<W>]) {
        part.iter_mut().for_each(Entry::doubt);
        let Some(session) = self.session.take() else { return };
        let killed = tokio::time::timeout(KILL_PATIENCE, self.db.kill(session.id())).await;
        if let Err(error) = killed.unwrap_or_else(|_| Err(no_answer())) {
            warn!(lane = self.queue.name(), %error, "lost session could not be killed");
        }
    }
}

fn no_answer() -> db::Error {
    db::Error::Lost("no answer in time".to_owned())
}
