//! Transactions on pooled connections: run again when they conflict, ended when they are lost.

use crate::pool::Db;
use crate::session::commit;
use crate::{Conn, Error, Result, Script, SendAsyncFn};
use diesel_async::SimpleAsyncConnection;
use rand::Rng;
use std::time::{Duration, Instant};
use tracing::warn;

/// A transaction that keeps conflicting gives up after this many runs.
const MAX_RUNS: u32 = 8;

/// Tells [`Db::tx`] what an error of a closure means.
pub trait AsConflict {
    /// Whether the transaction conflicted with another one, and may run again.
    fn is_conflict(&self) -> bool;
}

impl AsConflict for Error {
    fn is_conflict(&self) -> bool {
        Self::is_conflict(self)
    }
}

impl Db {
    /// Runs a transaction, and again from the start when it conflicts with another.
    ///
    /// A copy of the closure runs each time; it must not change anything outside the connection. A refusal (`Err` that is
    /// no conflict) rolls back. A transaction that is dropped in the middle, or lost, is killed: it holds its row locks no
    /// longer than that takes, and 5 s where the server cannot be reached.
    ///
    /// # Errors
    /// Those of the closure; [`Error::Busy`]; [`Error::CommitUnknown`] when the connection was lost during COMMIT. The
    /// lost transaction is over then, one way or the other, if the server can be reached.
    pub async fn tx<T, E, F>(&self, work: F) -> Result<T, E>
    where
        E: From<Error> + AsConflict,
        F: for<'c> SendAsyncFn<&'c mut Conn, Result<T, E>, Fut: Send> + Clone + Send,
    {
        let (_turn, mut pooled) = self.checkout().await?;
        pooled.clean = false;
        pooled.conn.holds_locks(true);
        for run in 1.. {
            let result = attempt(&mut pooled.conn, work.clone()).await;
            pooled.last_used = Instant::now();
            let error = match result {
                Ok(value) => {
                    pooled.conn.holds_locks(false);
                    pooled.clean = true;
                    return Ok(value);
                }
                Err(Failed::Commit(error)) => {
                    if let Error::CommitUnknown(_) = error {
                        self.settle(&mut pooled.conn).await;
                        return Err(error.into());
                    }
                    error.into()
                }
                Err(Failed::Work(error)) => error,
            };
            // Not worth keeping a connection on which a rollback fails.
            let rolled_back = pooled.conn.batch_execute("ROLLBACK").await.is_ok();
            pooled.conn.holds_locks(!rolled_back);
            if !(rolled_back && error.is_conflict() && run < MAX_RUNS) {
                pooled.clean = rolled_back;
                return Err(error);
            }
            pooled.conn.holds_locks(true);
            let pause = rand::rng().random_range(0..(1_u64 << run.min(6)));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Err(Error::Busy.into())
    }

    /// Makes sure that a transaction whose COMMIT was lost is over, as far as the server lets us know.
    async fn settle(&self, conn: &mut Conn) {
        match self.kill(conn.id()).await {
            Ok(()) => conn.holds_locks(false),
            Err(error) => warn!(%error, "lost transaction could not be killed"),
        }
    }
}

/// Where a run failed.
enum Failed<E> {
    Work(E),
    Commit(Error),
}

async fn attempt<T, E, F>(conn: &mut Conn, work: F) -> Result<T, Failed<E>>
where
    E: From<Error>,
    F: for<'c> SendAsyncFn<&'c mut Conn, Result<T, E>, Fut: Send>,
{
    conn.batch_execute("BEGIN").await.map_err(|error| Failed::Work(Error::from(error).into()))?;
    let value = work(&mut *conn).await.map_err(Failed::Work)?;
    commit(conn, Script::default()).await.map_err(Failed::Commit)?;
    Ok(value)
}
