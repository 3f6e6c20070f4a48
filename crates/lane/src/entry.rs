//! One operation of a queue, and everybody who waits for it.

use crate::{Error, Work};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A caller.
pub(crate) struct Waiter<R> {
    pub(crate) reply: oneshot::Sender<Result<R, Error>>,
    pub(crate) deadline: Instant,
}

/// The callers of one operation: whoever asked first, and the repeats that joined.
pub(crate) struct Waiters<R>(Mutex<Vec<Waiter<R>>>);

/// A queued operation. Dropped unanswered, it tells its callers that its outcome is unknown.
pub(crate) struct Entry<W: Work> {
    pub(crate) op: W::Op,
    key: Option<W::Key>,
    waiters: Arc<Waiters<W::Reply>>,
    queued_at: Instant,
    in_doubt: bool,
    /// Tries that met, with this operation alone, a conflict other than a locked row.
    pub(crate) conflicts: u32,
    /// How often it was put off.
    pub(crate) put_off: u32,
}

impl<R> Waiters<R> {
    pub(crate) fn join(&self, waiter: Waiter<R>) {
        self.lock().push(waiter);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter<R>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Entry<W> {
    pub(crate) fn new(op: W::Op, key: Option<W::Key>, first: Waiter<W::Reply>) -> Self {
        let waiters = Arc::new(Waiters(Mutex::new(vec![first])));
        let queued_at = Instant::now();
        Self { op, key, waiters, queued_at, in_doubt: false, conflicts: 0, put_off: 0 }
    }

    pub(crate) fn key(&self) -> Option<&W::Key> {
        self.key.as_ref()
    }

    pub(crate) fn waiters(&self) -> Weak<Waiters<W::Reply>> {
        Arc::downgrade(&self.waiters)
    }

    pub(crate) fn queued_at(&self) -> Instant {
        self.queued_at
    }

    /// A commit of it was sent, and nobody knows what became of it.
    pub(crate) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Why it is not run: certain to have had no effect, if that is so.
    pub(crate) fn shed(&self, lane: &'static str, retry_after: Duration) -> Error {
        if self.in_doubt { Error::Unknown(lane) } else { Error::Overloaded { lane, retry_after } }
    }

    /// Tells callers whose deadlines have passed so; whether anybody still waits.
    pub(crate) fn drop_late(&self, now: Instant, lane: &'static str) -> bool {
        let mut waiters = self.waiters.lock();
        let (past, timely) =
            std::mem::take(&mut *waiters).into_iter().partition(|waiter| waiter.deadline <= now);
        *waiters = timely;
        let is_wanted = !waiters.is_empty();
        drop(waiters);
        let past: Vec<Waiter<W::Reply>> = past;
        for waiter in past {
            let error =
                if self.in_doubt { Error::Unknown(lane) } else { Error::DeadlineExceeded(lane) };
            let _ = waiter.reply.send(Err(error));
        }
        is_wanted
    }

    /// Answers everybody: whoever came after the first is told as a repeat is.
    pub(crate) fn answer(self, answer: Result<W::Reply, Error>) {
        let mut waiters = std::mem::take(&mut *self.waiters.lock()).into_iter();
        let first = waiters.next();
        for waiter in waiters {
            let _ = waiter.reply.send(answer.as_ref().map(W::repeated).map_err(Clone::clone));
        }
        if let Some(first) = first {
            let _ = first.reply.send(answer);
        }
    }
}
