//! The journal: which sagas there are, whose they are, and how they ended.
//!
//! One synchronous write a saga: START, many in one transaction. END is written lazily, many at once; losing it costs
//! one replay. In between the journal is not written: what the steps decided stands in the participants' barrier rows.

mod claim;
mod end;
mod list;
mod lower;
mod operation;
mod read;
mod readable;
mod record;
mod schema;
mod start;
mod switch;
mod watermark;

pub(crate) use claim::{CLAIMED_AT_ONCE, Pulse};
pub use list::{Filter, Page};
pub use lower::{heartbeats, lower_watermark, lowest_watermark, watermark_of};
pub use operation::{Action, Operated, Operation};
pub use record::{Ended, EndedAs, NewSaga, PlanId, Record, Running, RunningState, Start, Started};
pub use switch::{Recovery, Switch, Switched};

use crate::journal::end::{End, EndWork};
use crate::journal::start::StartWork;
use db::{Clock, Db, Result};
use lane::{Lane, Priority};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// The tables of a journal.
pub const MIGRATIONS: &[db::Migration] = &[
    db::migration!("2026-11-23-000001_saga"),
    db::migration!("2026-11-23-000002_saga_history"),
    db::migration!("2026-11-23-000003_request"),
    db::migration!("2026-11-23-000004_heartbeat"),
    db::migration!("2026-11-23-000005_saga_watermark"),
    db::migration!("2026-11-23-000006_saga_watermark_row"),
    db::migration!("2026-11-26-000001_saga_operation"),
    db::migration!("2026-11-26-000002_recovery"),
    db::migration!("2026-11-26-000003_recovery_row"),
    db::migration!("2026-11-26-000004_saga_request_id"),
    db::migration!("2026-11-26-000005_saga_history_request_id"),
];

/// ENDs are gathered for this long: nobody waits for them.
const END_LINGER: Duration = Duration::from_millis(100);

/// The journal of one orchestrator replica.
pub struct Journal {
    db: Db,
    owner: Uuid,
    starts: Lane<StartWork>,
    ends: Lane<EndWork>,
}

impl Journal {
    /// Opens the journal under an owner id of its own, new at every start of the program.
    pub fn open(db: Db, lane: lane::Options, tasks: &TaskTracker) -> Self {
        let owner = Uuid::now_v7();
        let starts = Lane::start(
            "start",
            db.clone(),
            Arc::new(StartWork { db: db.clone(), owner }),
            lane,
            tasks,
        );
        let lazily = lane::Options { linger: END_LINGER, max_batch: 512, ..lane };
        let ends = Lane::start("end", db.clone(), Arc::new(EndWork), lazily, tasks);
        Self { db, owner, starts, ends }
    }

    /// This replica's id.
    pub fn owner(&self) -> Uuid {
        self.owner
    }

    /// The clock of the journal's database.
    pub fn clock(&self) -> Clock {
        self.db.clock()
    }

    /// Makes a saga durable, or finds the one that its request already has. Returns after the commit.
    ///
    /// # Errors
    /// [`lane::Error::Overloaded`]: nothing happened. Any other: ask again with the same saga id.
    pub async fn start(&self, saga: NewSaga, deadline: Instant) -> Result<Started, lane::Error> {
        self.starts.submit(saga, Priority::Normal, deadline).await
    }

    /// Records how a saga ended, unless somebody has already.
    ///
    /// # Errors
    /// See [`lane::Error`]; the saga stays unfinished and is replayed.
    pub async fn end(
        &self,
        start: Start,
        outcome: EndedAs,
        result: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), lane::Error> {
        self.ends.submit(End { start, outcome, result }, Priority::Reserved, deadline).await
    }

    /// What the lanes of START and of END last achieved.
    pub fn health(&self) -> Vec<lane::Health> {
        vec![self.starts.health(), self.ends.health()]
    }

    /// Takes no more sagas; what is queued is still written.
    pub fn close(&self) {
        self.starts.close();
        self.ends.close();
    }
}
