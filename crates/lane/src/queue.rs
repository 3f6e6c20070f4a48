//! The bounded queue in front of a lane, first in, first out.

use crate::estimate::BatchTime;
use crate::{Error, Options, Work};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Who may use the reserved quarter of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// New work: shed first.
    Normal,
    /// Work that ends something begun (compensations, voids, steps after a register): shed only by a full queue.
    Reserved,
}

pub(crate) struct Entry<W: Work> {
    pub(crate) op: W::Op,
    pub(crate) reply: oneshot::Sender<Result<W::Reply, Error>>,
    pub(crate) deadline: Instant,
}

pub(crate) struct Queue<W: Work> {
    name: &'static str,
    options: Options,
    state: Mutex<State<W>>,
    arrived: Notify,
}

struct State<W: Work> {
    entries: VecDeque<Entry<W>>,
    batch_time: BatchTime,
    closed: bool,
}

/// What the worker finds in the queue.
pub(crate) enum Taken<W: Work> {
    Batch(Vec<Entry<W>>),
    Idle,
    Closed,
}

impl<W: Work> Queue<W> {
    pub(crate) fn new(name: &'static str, options: Options) -> Self {
        let state =
            State { entries: VecDeque::new(), batch_time: BatchTime::default(), closed: false };
        Self { name, options, state: Mutex::new(state), arrived: Notify::new() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn push(&self, entry: Entry<W>, priority: Priority) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed(self.name));
        }
        self.admit(&state, entry.deadline, priority)?;
        state.entries.push_back(entry);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    fn admit(&self, state: &State<W>, deadline: Instant, priority: Priority) -> Result<(), Error> {
        let queued = state.entries.len();
        let wait = state.batch_time.wait(queued, self.options.max_batch);
        let full = match priority {
            Priority::Reserved => queued >= self.options.capacity,
            // An empty queue admits whatever the estimate says: only a new batch can correct it.
            Priority::Normal => {
                queued >= self.options.capacity - self.options.capacity / 4
                    || (queued > 0
                        && (wait > self.options.max_wait || Instant::now() + wait > deadline))
            }
        };
        if full {
            let retry_after = wait.max(Duration::from_millis(10));
            return Err(Error::Overloaded { lane: self.name, retry_after });
        }
        Ok(())
    }

    /// Waits for operations, for `patience` at most.
    pub(crate) async fn take(&self, patience: Duration) -> Taken<W> {
        let until = Instant::now() + patience;
        loop {
            let arrived = self.arrived.notified();
            if !self.options.linger.is_zero() && self.has_company_to_wait_for() {
                tokio::time::sleep(self.options.linger).await;
            }
            if let Some(taken) = self.try_take() {
                return taken;
            }
            if tokio::time::timeout_at(until, arrived).await.is_err() {
                return Taken::Idle;
            }
        }
    }

    fn has_company_to_wait_for(&self) -> bool {
        let state = self.lock();
        !state.closed && (1..self.options.max_batch).contains(&state.entries.len())
    }

    fn try_take(&self) -> Option<Taken<W>> {
        let mut state = self.lock();
        let count = state.entries.len().min(self.options.max_batch);
        if count > 0 {
            return Some(Taken::Batch(state.entries.drain(..count).collect()));
        }
        state.closed.then_some(Taken::Closed)
    }

    pub(crate) fn record(&self, took: Duration) {
        self.lock().batch_time.record(took);
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decided;

    struct Nothing;

    impl Work for Nothing {
        type Op = ();
        type Reply = ();

        async fn run(&self, _: &mut db::Conn, ops: &[&()]) -> db::Result<Decided<()>> {
            Ok(Decided { replies: vec![(); ops.len()], writes: db::Script::default() })
        }
    }

    #[tokio::test]
    async fn a_lane_that_was_slow_once_admits_one_call_to_find_out_whether_it_still_is() {
        let queue = Queue::<Nothing>::new("slow", Options::default());
        queue.record(Duration::from_secs(5));
        let push = || {
            let deadline = Instant::now() + Duration::from_secs(1);
            let entry = Entry { op: (), reply: oneshot::channel().0, deadline };
            queue.push(entry, Priority::Normal)
        };
        push().unwrap();
        assert!(matches!(push(), Err(Error::Overloaded { .. })));
        assert!(matches!(queue.take(Duration::ZERO).await, Taken::Batch(_)));
        push().unwrap();
    }
}
