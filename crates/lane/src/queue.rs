//! The bounded queue in front of a lane, first in, first out.

use crate::entry::{Entry, Waiter, Waiters};
use crate::estimate::BatchTime;
use crate::health::Achieved;
use crate::{Error, Health, Options, Work};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// What a caller who was shed is told at least, and at most: when trying again makes sense.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(5));

/// Who may use the reserved quarter of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// New work: shed first.
    Normal,
    /// Work that ends something begun (compensations, voids, steps after a pivot): shed only by a full queue.
    Reserved,
}

pub(crate) struct Queue<W: Work> {
    name: &'static str,
    options: Options,
    state: Mutex<State<W>>,
    arrived: Notify,
}

/// The answer that a caller waits for.
pub(crate) type Answer<W> = oneshot::Receiver<Result<<W as Work>::Reply, Error>>;

struct State<W: Work> {
    entries: VecDeque<Entry<W>>,
    /// Who waits for the operations that have a key and are not answered yet.
    joinable: HashMap<W::Key, Weak<Waiters<W::Reply>>>,
    /// When the oldest operation of the batch that is being run was queued.
    running: Option<Instant>,
    put_off: usize,
    batch_time: BatchTime,
    achieved: Achieved,
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
        let state = State {
            entries: VecDeque::new(),
            joinable: HashMap::new(),
            running: None,
            put_off: 0,
            batch_time: BatchTime::default(),
            achieved: Achieved::default(),
            closed: false,
        };
        Self { name, options, state: Mutex::new(state), arrived: Notify::new() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn max_batch(&self) -> usize {
        self.options.max_batch
    }

    /// How many operations may be put off; more would take the memory of callers who give up soon.
    pub(crate) fn max_put_off(&self) -> usize {
        self.options.capacity / 4
    }

    /// Queues an operation. One whose key is known already takes no place of its own: both are answered together.
    pub(crate) fn push(
        &self,
        op: W::Op,
        key: Option<W::Key>,
        priority: Priority,
        deadline: Instant,
    ) -> Result<Answer<W>, Error> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, deadline };
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed(self.name));
        }
        let first = key.as_ref().and_then(|key| state.joinable.get(key)).and_then(Weak::upgrade);
        if let Some(first) = first {
            first.join(waiter);
            return Ok(answer);
        }
        self.admit(&state, deadline, priority)?;
        let entry = Entry::<W>::new(op, key, waiter);
        if let Some(key) = entry.key() {
            state.joinable.insert(key.clone(), entry.waiters());
        }
        state.entries.push_back(entry);
        drop(state);
        self.arrived.notify_one();
        Ok(answer)
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
            let retry_after = wait.clamp(RETRY_AFTER.0, RETRY_AFTER.1);
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
            let batch: Vec<Entry<W>> = state.entries.drain(..count).collect();
            state.running = batch.first().map(Entry::queued_at);
            return Some(Taken::Batch(batch));
        }
        state.closed.then_some(Taken::Closed)
    }

    /// Answers operations, which nobody can join from then on.
    pub(crate) fn answer(
        &self,
        answers: impl IntoIterator<Item = (Entry<W>, Result<W::Reply, Error>)>,
    ) {
        let answers: Vec<_> = answers.into_iter().collect();
        let mut state = self.lock();
        for (entry, _) in &answers {
            state.forget(entry);
        }
        drop(state);
        for (entry, answer) in answers {
            entry.answer(answer);
        }
    }

    /// Tells callers of an operation whose deadlines have passed so; whether anybody still waits for it.
    pub(crate) fn is_wanted(&self, entry: &Entry<W>, now: Instant) -> bool {
        let mut state = self.lock();
        let is_wanted = entry.drop_late(now, self.name);
        if !is_wanted {
            state.forget(entry);
        }
        is_wanted
    }

    /// A batch that was taken is settled; what of it is put off is counted apart.
    pub(crate) fn settled(&self, took: Duration, put_off: usize) {
        let mut state = self.lock();
        state.running = None;
        state.batch_time.record(took);
        state.put_off = put_off;
    }

    /// How many operations are put off.
    pub(crate) fn put_off(&self, count: usize) {
        self.lock().put_off = count;
    }

    /// Notes what was achieved.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Achieved)) {
        note(&mut self.lock().achieved);
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.lock().achieved.is_failing()
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.lock();
        let oldest = state.running.or_else(|| state.entries.front().map(Entry::queued_at));
        Health {
            oldest: oldest.map(|at| at.elapsed()),
            queued: state.entries.len(),
            put_off: state.put_off,
            ..state.achieved.health()
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> State<W> {
    fn forget(&mut self, entry: &Entry<W>) {
        let Some(key) = entry.key() else { return };
        let is_its_own = |known: &Weak<_>| Weak::ptr_eq(known, &entry.waiters());
        if self.joinable.get(key).is_some_and(is_its_own) {
            self.joinable.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
