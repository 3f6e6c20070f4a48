//! What a service has to say about its hot writes, and nothing more.

use crate::{RequestHash, RequestKey, SagaId, StepNo};
use chrono::{DateTime, Utc};
use db::{LockWait, Script};
use saga_api::v1::StepRejection;

/// A service's hot writes: a batch of operations as load, decide, store.
///
/// All three run inside one transaction that commits the barrier and idempotency rows with them. The batch may run
/// several times, each time from the start, so nothing may be remembered between runs but in rows.
pub trait Desk: Send + Sync + 'static {
    /// A validated business operation.
    type Op: Send + Sync + 'static;
    /// The rows of a batch in memory, with the changes made so far: what the next operation of the batch sees.
    type Sheet: Send;

    /// Locks and reads every row that the tasks may touch, in (table, id) order over the whole batch. `wait` says what
    /// becomes of a row that somebody else has locked.
    fn load(
        &self,
        conn: &mut db::Conn,
        tasks: &[Task<'_, Self::Op>],
        wait: LockWait,
    ) -> impl Future<Output = db::Result<Self::Sheet>> + Send;

    /// Decides one operation and notes its changes in the sheet; a rejection notes none.
    fn act(&self, sheet: &mut Self::Sheet, op: &Self::Op, moment: &Moment<'_>) -> Verdict;

    /// Undoes what a step did, by what its barrier row recorded. No business limit can refuse it.
    fn undo(&self, sheet: &mut Self::Sheet, recorded: &[u8], moment: &Moment<'_>);

    /// The sheet's changes as a few multi-row statements, rows sorted by key.
    fn store(&self, sheet: Self::Sheet, writes: &mut Script) -> db::Result<()>;
}

/// What may touch rows in a batch, for [`Desk::load`].
#[derive(Debug)]
pub enum Task<'a, Op> {
    /// An operation that may run.
    Act(&'a Op),
    /// A compensation of what this reply recorded.
    Undo(&'a [u8]),
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The participant's clock, read once a batch; stored with what was decided.
    pub at: DateTime<Utc>,
    /// The saga on whose behalf this runs.
    pub saga: Option<SagaId>,
    /// The call's trace, carried on by events.
    pub trace: &'a Trace,
}

/// The trace of a call, as it goes into events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// `x-trace-id`.
    pub trace_id: String,
    /// W3C `traceparent`, empty where there is none.
    pub traceparent: String,
}

/// A decision; both kinds are remembered and never change.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Done: the encoded reply (ids and amounts, at most 4,096 bytes).
    Done(Vec<u8>),
    /// Rejected by a business rule.
    Rejected(StepRejection),
}

/// One call of a lane.
#[derive(Debug)]
pub struct Call<Op> {
    pub(crate) kind: Kind<Op>,
    pub(crate) trace: Trace,
}

#[derive(Debug)]
pub(crate) enum Kind<Op> {
    /// `closing`: after the pivot, so that it may use the reserved share of the queue.
    Act {
        saga: SagaId,
        step: StepNo,
        hash: RequestHash,
        closing: bool,
        op: Op,
    },
    Undo {
        saga: SagaId,
        step: StepNo,
    },
    Void {
        saga: SagaId,
        step: StepNo,
        reason: Vec<u8>,
    },
    Request {
        key: RequestKey,
        hash: RequestHash,
        op: Op,
    },
}

impl<Op> Call<Op> {
    /// A client's own request.
    pub fn request(key: RequestKey, hash: RequestHash, op: Op, trace: Trace) -> Self {
        Self { kind: Kind::Request { key, hash, op }, trace }
    }
}
