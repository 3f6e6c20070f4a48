//! The one task of a lane.

use crate::attempt::{Failed, Kind, Runner};
use crate::entry::Entry;
use crate::health::Achieved;
use crate::put_off::Waiting;
use crate::queue::{Queue, Taken};
use crate::{Error, Work};
use db::LockWait;
use futures_util::FutureExt;
use rand::Rng;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, error, warn};

/// The server ends a silent session after 5 s, so an idle lane speaks up well before.
const PING_EVERY: Duration = Duration::from_millis(1_500);
/// How often callers of operations that are put off are looked at, whose deadlines may have passed.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// A batch that conflicts, or loses its connection, this often in a row is split.
const MAX_STRIKES: u32 = 3;
/// An operation that, alone, conflicts this often with anything but a locked row fails.
const MAX_CONFLICTS: u32 = 20;
/// When callers may try again whose operation can neither run now nor be put off.
const SHED_FOR: Duration = Duration::from_secs(1);
/// The longest pause between two tries, in milliseconds.
const MAX_PAUSE_MS: u64 = 200;
/// How long reads refuse to wait for locked rows, once one did so in vain. Then one may wait again: where replicas share hot
/// rows, waiting for each other's short transactions is the fairer way, and refusals would never end by themselves.
const WARY_FOR: Duration = Duration::from_secs(10);

/// Runs a lane's worker, and a new one where it breaks down, until the lane is closed and drained.
pub(crate) async fn supervise<W: Work>(db: db::Db, work: Arc<W>, queue: Arc<Queue<W>>) {
    loop {
        let runner = Runner::new(db.clone(), Arc::clone(&work), Arc::clone(&queue));
        let worker = Worker::new(runner, Arc::clone(&queue));
        if AssertUnwindSafe(worker.run()).catch_unwind().await.is_ok() {
            return;
        }
        // What it had taken is dropped, which tells its callers.
        error!(lane = queue.name(), "a lane's worker panicked; it starts again");
        queue.note(Achieved::panic);
        queue.settled(Duration::ZERO, 0);
        tokio::time::sleep(Duration::from_millis(MAX_PAUSE_MS)).await;
    }
}

struct Worker<W: Work> {
    runner: Runner<W>,
    queue: Arc<Queue<W>>,
    put_off: Waiting<W>,
    wary_until: Instant,
    last_heard: Instant,
    last_sweep: Instant,
}

/// A batch, or what is left of one.
struct Part<W: Work> {
    entries: Vec<Entry<W>>,
    /// Tries of it that failed, it or the batch that it is a part of.
    strikes: u32,
}

impl<W: Work> Worker<W> {
    fn new(runner: Runner<W>, queue: Arc<Queue<W>>) -> Self {
        let now = Instant::now();
        let put_off = Waiting::new();
        Self { runner, queue, put_off, wary_until: now, last_heard: now, last_sweep: now }
    }

    async fn run(mut self) {
        loop {
            match self.queue.take(self.patience()).await {
                Taken::Batch(batch) => {
                    let started = Instant::now();
                    self.settle(batch).await;
                    self.queue.settled(started.elapsed(), self.put_off.len());
                }
                Taken::Idle => self.ping().await,
                Taken::Closed if self.put_off.is_empty() => return,
                Taken::Closed => {
                    let due = self.put_off.next_due();
                    tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await;
                }
            }
            self.sweep();
            self.try_put_off().await;
        }
    }

    async fn ping(&mut self) {
        if self.last_heard.elapsed() >= PING_EVERY {
            self.runner.ping().await;
            self.last_heard = Instant::now();
        }
    }

    /// How long there is nothing to do but to wait for new operations.
    fn patience(&self) -> Duration {
        let ping = self.last_heard + PING_EVERY;
        let until = self.put_off.next_due().map_or(ping, |due| due.min(ping));
        until.saturating_duration_since(Instant::now())
    }

    fn wait(&self) -> LockWait {
        if Instant::now() < self.wary_until { LockWait::Refuse } else { LockWait::Wait }
    }

    /// Runs a batch until every operation of it is answered or put off.
    async fn settle(&mut self, entries: Vec<Entry<W>>) {
        let mut parts = vec![Part { entries, strikes: 0 }];
        while let Some(part) = parts.pop() {
            if let Some((first, second)) = self.settle_part(part).await {
                parts.push(second);
                parts.push(first);
            }
        }
    }

    /// Runs one part; gives it back in halves where one of its operations may hold up the others.
    async fn settle_part(&mut self, mut part: Part<W>) -> Option<(Part<W>, Part<W>)> {
        let lane = self.queue.name();
        let mut tries = 0_u32;
        loop {
            let now = Instant::now();
            part.entries.retain(|entry| self.queue.is_wanted(entry, now));
            if part.entries.is_empty() {
                return None;
            }
            let (started, wait) = (Instant::now(), self.wait());
            let Failed { kind, error } = match self.runner.attempt(&mut part.entries, wait).await {
                Ok(replies) => {
                    self.answer(part.entries, replies);
                    return None;
                }
                Err(failed) => failed,
            };
            let is_alone = part.entries.len() == 1;
            debug!(lane, ?kind, %error, operations = part.entries.len(), "batch not committed");
            match kind {
                Kind::Locked => {
                    if wait == LockWait::Wait {
                        self.wary_until = Instant::now() + WARY_FOR;
                    }
                    return self.split_or_put_off(part, started.elapsed());
                }
                Kind::Conflict if part.strikes >= MAX_STRIKES => {
                    return self.split_or_put_off(part, started.elapsed());
                }
                Kind::Lost if part.strikes >= MAX_STRIKES && !is_alone => {
                    return Some(part.halves());
                }
                Kind::Lost if part.strikes >= 2 * MAX_STRIKES => {
                    error!(lane, "operation ends every connection that it runs on");
                    self.fail(part.entries, &Error::Unknown(lane));
                    return None;
                }
                Kind::Conflict | Kind::Lost => part.strikes += 1,
                Kind::Unreachable => {}
                Kind::Refused if is_alone => {
                    error!(lane, %error, "operation refused by the database");
                    let text = error.to_string();
                    self.fail(part.entries, &Error::Failed { lane, text });
                    return None;
                }
                Kind::Refused => {
                    warn!(lane, %error, operations = part.entries.len(), "batch refused, splitting it");
                    return Some(part.halves());
                }
            }
            tries += 1;
            pause(tries).await;
        }
    }

    fn split_or_put_off(
        &mut self,
        mut part: Part<W>,
        took: Duration,
    ) -> Option<(Part<W>, Part<W>)> {
        if part.entries.len() > 1 {
            return Some(part.halves());
        }
        if let Some(entry) = part.entries.pop() {
            self.postpone(entry, took);
        }
        None
    }

    fn postpone(&mut self, entry: Entry<W>, took: Duration) {
        if self.put_off.len() < self.queue.max_put_off() {
            return self.put_off.later(entry, took);
        }
        let shed = entry.shed(self.queue.name(), SHED_FOR);
        self.fail(vec![entry], &shed);
    }

    /// Tries operations again that are due: one, or several where the last try went well.
    async fn try_put_off(&mut self) {
        let mut tried = self.put_off.take_due(self.queue.max_batch());
        let started = Instant::now();
        tried.retain(|entry| self.queue.is_wanted(entry, started));
        if tried.is_empty() {
            return;
        }
        match self.runner.attempt(&mut tried, LockWait::Refuse).await {
            Ok(replies) => {
                self.answer(tried, replies);
                self.put_off.hurry();
            }
            Err(failed) => self.tried_in_vain(tried, failed, started.elapsed()),
        }
        self.queue.put_off(self.put_off.len());
    }

    fn tried_in_vain(&mut self, mut tried: Vec<Entry<W>>, failed: Failed, took: Duration) {
        if tried.len() > 1 {
            return self.put_off.give_back(tried);
        }
        let Some(mut entry) = tried.pop() else { return };
        let lane = self.queue.name();
        let Failed { kind, error } = failed;
        match kind {
            Kind::Locked | Kind::Unreachable => {}
            Kind::Conflict | Kind::Lost if entry.conflicts < MAX_CONFLICTS => {
                entry.conflicts += 1;
            }
            Kind::Conflict | Kind::Refused => {
                error!(lane, %error, "operation refused by the database");
                let text = error.to_string();
                return self.fail(vec![entry], &Error::Failed { lane, text });
            }
            Kind::Lost => return self.fail(vec![entry], &Error::Unknown(lane)),
        }
        self.postpone(entry, took);
    }

    /// Looks for operations that are put off and that nobody waits for any more.
    fn sweep(&mut self) {
        if self.put_off.is_empty() || self.last_sweep.elapsed() < SWEEP_EVERY {
            return;
        }
        let now = Instant::now();
        self.last_sweep = now;
        self.put_off.retain(|entry| self.queue.is_wanted(entry, now));
        self.queue.put_off(self.put_off.len());
    }

    fn answer(&mut self, entries: Vec<Entry<W>>, replies: Vec<W::Reply>) {
        self.last_heard = Instant::now();
        self.queue.answer(entries.into_iter().zip(replies.into_iter().map(Ok)));
    }

    fn fail(&self, entries: Vec<Entry<W>>, error: &Error) {
        self.queue.answer(entries.into_iter().map(|entry| (entry, Err(error.clone()))));
    }
}

impl<W: Work> Part<W> {
    /// Two halves of it, to be run in this order.
    fn halves(mut self) -> (Self, Self) {
        let second = self.entries.split_off(self.entries.len() / 2);
        let second = Self { entries: second, strikes: self.strikes };
        (self, second)
    }
}

async fn pause(tries: u32) {
    let ceiling = 1_u64.checked_shl(tries).unwrap_or(MAX_PAUSE_MS).min(MAX_PAUSE_MS);
    let pause = rand::rng().random_range(0..=ceiling);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
