//! Lanes: many callers, one connection, one commit.
//!
//! A lane is a bounded queue and a connection of its own. It takes what is queued as soon as its previous commit has
//! returned (no timer: one waiting call makes a batch of one), runs it as one transaction, and answers each caller only
//! after the commit. Under load the batches grow by themselves and the cost of a commit is shared; one durable commit
//! costs the disk the same for one row as for a hundred.
//!
//! What a transaction does is the [`Work`]'s. What happens when it fails is decided here:
//!
//! | failure | then |
//! |---|---|
//! | a row that somebody else has locked | ROLLBACK, the batch in two halves at once; from then on locking reads do not wait ([`db::LockWait::Refuse`]), and an operation that is alone with its locked row is put off while the others go on |
//! | another conflict: duplicate key, short count, deadlock | ROLLBACK, the whole batch again; in two halves when that keeps happening; alone, the operation is put off, and fails in the end |
//! | connection lost before COMMIT | a new connection, the whole batch again; in two halves when the batch itself seems to end connections |
//! | connection lost during COMMIT, or no answer in time | the old connection is killed on the server, then the batch again: its INSERTs wait for the lost transaction, which a plain read would not |
//! | any other server error, a panic | ROLLBACK, the batch in two halves, each from the start; alone, the operation fails |
//!
//! So one operation neither fails nor holds up its neighbours. Every [`Work`] must be idempotent by rows that it writes in
//! the same transaction (barrier, idempotency): a batch may run after an earlier run of it has committed.
//!
//! An operation that is repeated while its first copy is not answered yet joins it ([`Work::key`]): it takes no second
//! place in the queue.

mod attempt;
mod entry;
mod estimate;
mod health;
mod put_off;
mod queue;
mod worker;

pub use health::Health;
pub use queue::Priority;

use queue::Queue;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// What a lane runs: a batch of operations as one transaction.
pub trait Work: Send + Sync + 'static {
    /// One caller's operation.
    type Op: Send + Sync + 'static;
    /// What the caller is told after the commit.
    type Reply: Clone + Send + 'static;
    /// What repeats of an operation are known by.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// Decides the batch inside the open transaction. Reads that lock rows heed `wait`.
    ///
    /// May run any number of times for the same operations; must not begin, commit or roll back.
    fn run(
        &self,
        conn: &mut db::Conn,
        ops: &[&Self::Op],
        wait: db::LockWait,
    ) -> impl Future<Output = db::Result<Decided<Self::Reply>>> + Send;

    /// The operation and its content: of two with equal keys the second would be answered what the first was. None for one
    /// that is never repeated.
    fn key(&self, _: &Self::Op) -> Option<Self::Key> {
        None
    }

    /// What a repeat is told that joined an operation so answered.
    fn repeated(reply: &Self::Reply) -> Self::Reply {
        reply.clone()
    }
}

/// What a batch came to: nothing of it counts before `writes` are committed.
#[derive(Debug)]
pub struct Decided<R> {
    /// One reply an operation, in order.
    pub replies: Vec<R>,
    /// What is still to be written; it goes to the server together with COMMIT.
    pub writes: db::Script,
}

/// The size and temper of a lane.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Operations that may wait, 1 or more. A quarter of it is kept for [`Priority::Reserved`].
    pub capacity: usize,
    /// Operations of one transaction, 1 or more; at most 512 where their reads are lists of as many keys (`db::CHUNK`).
    pub max_batch: usize,
    /// A call whose estimated wait is longer is shed.
    pub max_wait: Duration,
    /// How long the lane waits for company after the first arrival: zero but for lazy writes that no caller awaits.
    pub linger: Duration,
}

impl Default for Options {
    /// 8,192 waiting, 256 a transaction, 200 ms, no lingering.
    fn default() -> Self {
        Self {
            capacity: 8192,
            max_batch: 256,
            max_wait: Duration::from_millis(200),
            linger: Duration::ZERO,
        }
    }
}

/// Why an operation was not answered by its [`Work`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shed before it was queued: nothing happened.
    #[error("the lane {lane} is full; try again in {retry_after:?}")]
    Overloaded {
        /// The lane's name.
        lane: &'static str,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// Its deadline passed before it was committed: nothing happened.
    #[error("the deadline passed in the lane {0}")]
    DeadlineExceeded(&'static str),
    /// Nobody knows whether it was committed: ask again with the same key.
    #[error("the outcome is unknown in the lane {0}")]
    Unknown(&'static str),
    /// The database refused the operation, alone in its transaction.
    #[error("the lane {lane} could not run the operation: {text}")]
    Failed {
        /// The lane's name.
        lane: &'static str,
        /// For the log, never for the caller.
        text: String,
    },
    /// The lane is shutting down.
    #[error("the lane {0} is closed")]
    Closed(&'static str),
}

/// A queue and a connection. Cheap to clone; the lane ends when it is [closed](Lane::close) and drained.
pub struct Lane<W: Work> {
    queue: Arc<Queue<W>>,
    work: Arc<W>,
}

impl<W: Work> Clone for Lane<W> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), work: Arc::clone(&self.work) }
    }
}

impl<W: Work> Lane<W> {
    /// Starts a lane; its connection is opened when first needed.
    pub fn start(
        name: &'static str,
        db: db::Db,
        work: Arc<W>,
        options: Options,
        tasks: &TaskTracker,
    ) -> Self {
        let queue = Arc::new(Queue::new(name, options));
        tasks.spawn(worker::supervise(db, Arc::clone(&work), Arc::clone(&queue)));
        Self { queue, work }
    }

    /// Queues an operation and waits for its commit.
    ///
    /// Dropping the future does not take the operation back: once queued it runs, unless its deadline passes first.
    ///
    /// # Errors
    /// See [`Error`]; after [`Error::Overloaded`] alone it is certain that nothing happened.
    pub async fn submit(
        &self,
        op: W::Op,
        priority: Priority,
        deadline: Instant,
    ) -> Result<W::Reply, Error> {
        let key = self.work.key(&op);
        let answer = self.queue.push(op, key, priority, deadline)?;
        // Whoever should have answered is gone, perhaps after the commit.
        answer.await.unwrap_or(Err(Error::Unknown(self.queue.name())))
    }

    /// What it last achieved.
    pub fn health(&self) -> Health {
        self.queue.health()
    }

    /// Takes no more operations; what is queued is still run.
    pub fn close(&self) {
        self.queue.close();
    }
}
