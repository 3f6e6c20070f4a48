//! The one task of a lane.

use crate::queue::{Entry, Queue, Taken};
use crate::{Decided, Error, Work};
use db::Session;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, error, warn};

/// The server ends a silent session after 5 s, so an idle lane speaks up well before.
const PING_EVERY: Duration = Duration::from_millis(1_500);
/// A batch that conflicts this often in a row is treated like one that the server refuses: it is split.
const MAX_CONFLICTS: u32 = 20;
/// The longest pause between two tries, in milliseconds.
const MAX_PAUSE_MS: u64 = 200;

pub(crate) struct Worker<W: Work> {
    db: db::Db,
    work: Arc<W>,
    queue: Arc<Queue<W>>,
    session: Option<Session>,
}

/// Two halves of a batch, to be run in this order.
type Halves<W> = (Vec<Entry<W>>, Vec<Entry<W>>);

/// What became of one try of a batch.
enum Tried {
    Committed,
    Again(db::Error),
    Refused(db::Error),
}

impl<W: Work> Worker<W> {
    pub(crate) fn new(db: db::Db, work: Arc<W>, queue: Arc<Queue<W>>) -> Self {
        Self { db, work, queue, session: None }
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.queue.take(PING_EVERY).await {
                Taken::Batch(batch) => {
                    let started = Instant::now();
                    self.settle(batch).await;
                    self.queue.record(started.elapsed());
                }
                Taken::Idle => self.ping().await,
                Taken::Closed => return,
            }
        }
    }

    async fn ping(&mut self) {
        if let Some(session) = &mut self.session
            && session.ping().await.is_err()
        {
            self.session = None;
        }
    }

    /// Runs a batch until every operation of it is answered.
    async fn settle(&mut self, batch: Vec<Entry<W>>) {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if let Some((first, second)) = self.settle_part(part).await {
                parts.push(second);
                parts.push(first);
            }
        }
    }

    /// Runs one part; gives it back in halves when the server refuses it.
    async fn settle_part(&mut self, mut part: Vec<Entry<W>>) -> Option<Halves<W>> {
        let mut tries = 0_u32;
        let mut conflicts = 0_u32;
        loop {
            self.drop_late(&mut part);
            if part.is_empty() {
                return None;
            }
            match self.attempt(&mut part).await {
                Tried::Committed => return None,
                Tried::Again(error) if conflicts < MAX_CONFLICTS => {
                    conflicts += u32::from(error.is_conflict());
                    debug!(lane = self.queue.name(), %error, operations = part.len(), "batch runs again");
                }
                Tried::Again(error) | Tried::Refused(error) => return self.split(part, &error),
            }
            tries += 1;
            pause(tries).await;
        }
    }

    /// A caller whose deadline has passed has its answer already, and asks again by its key.
    fn drop_late(&self, part: &mut Vec<Entry<W>>) {
        let now = Instant::now();
        let (late, timely) = std::mem::take(part).into_iter().partition(|e| e.deadline <= now);
        *part = timely;
        let late: Vec<Entry<W>> = late;
        for entry in late {
            let _ = entry.reply.send(Err(Error::DeadlineExceeded(self.queue.name())));
        }
    }

    fn split(&self, mut part: Vec<Entry<W>>, error: &db::Error) -> Option<Halves<W>> {
        let lane = self.queue.name();
        if part.len() > 1 {
            warn!(lane, %error, operations = part.len(), "batch refused, splitting it");
            let second = part.split_off(part.len() / 2);
            return Some((part, second));
        }
        error!(lane, %error, "operation refused by the database");
        for entry in part {
            let _ = entry.reply.send(Err(Error::Failed { lane, text: error.to_string() }));
        }
        None
    }

    async fn attempt(&mut self, part: &mut Vec<Entry<W>>) -> Tried {
        let error = match self.transact(part).await {
            Ok(replies) => {
                for (entry, reply) in part.drain(..).zip(replies) {
                    let _ = entry.reply.send(Ok(reply));
                }
                return Tried::Committed;
            }
            Err(error) => error,
        };
        if let db::Error::CommitUnknown(_) = error {
            self.kill_lost_session().await;
        } else if !error.is_lost() {
            self.roll_back().await;
        } else {
            self.session = None;
        }
        match error {
            error if error.is_conflict() || error.is_lost() => Tried::Again(error),
            db::Error::Busy => Tried::Again(error),
            error => Tried::Refused(error),
        }
    }

    async fn transact(&mut self, part: &[Entry<W>]) -> db::Result<Vec<W::Reply>> {
        if self.session.is_none() {
            self.session = Some(self.db.session().await?);
        }
        let Some(session) = &mut self.session else { return Err(db::Error::Busy) };
        let ops: Vec<&W::Op> = part.iter().map(|entry| &entry.op).collect();
        let Decided { replies, writes } = self.work.run(session.conn(), &ops).await?;
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
        if let Some(session) = &mut self.session
            && session.rollback().await.is_err()
        {
            self.session = None;
        }
    }

    /// Makes sure that the lost transaction is over, one way or the other, as far as the server lets us know.
    async fn kill_lost_session(&mut self) {
        if let Some(session) = self.session.take()
            && let Err(error) = self.db.kill(session.id()).await
        {
            warn!(lane = self.queue.name(), %error, "lost session could not be killed");
        }
    }
}

async fn pause(tries: u32) {
    let ceiling = 1_u64.checked_shl(tries).unwrap_or(MAX_PAUSE_MS).min(MAX_PAUSE_MS);
    let pause = rand::rng().random_range(0..=ceiling);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
