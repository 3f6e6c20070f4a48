//! What the journal says of a saga.

use super::schema::{saga, saga_history};
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes16, Error, Result};
use diesel::prelude::*;
use participant::{Name, RequestHash, RequestKey, SagaId, Trace};

/// A plan and the version of it that a saga is pinned to for its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanId {
    /// What kind of saga: a number, stable for ever.
    pub kind: i8,
    /// Which version of that kind's plan.
    pub version: i16,
}

/// What START makes durable: all that an executor needs to walk the saga from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The saga.
    pub saga: SagaId,
    /// Its plan.
    pub plan: PlanId,
    /// Whose it is, for listing; opaque here, and empty for nobody.
    pub subject: Name,
    /// What it is about, for listing; opaque here, and empty for nothing.
    pub object: Name,
    /// What is at stake, for alerts; opaque here.
    pub weight: i64,
    /// The validated request, encoded by the plan's version; at most 64 KiB.
    pub request: Vec<u8>,
    /// The instant that counts for every rule that asks for the time.
    pub placed_at: DateTime<Utc>,
    /// When an executor gives up, unless the pivot is done.
    pub deadline_at: DateTime<Utc>,
    /// The caller's trace.
    pub trace: Trace,
    /// The client's request id; `None` where a program began it that did not keep it here.
    pub request_id: Option<[u8; 16]>,
}

/// A saga that is to be started for a client's request.
#[derive(Debug, Clone)]
pub struct NewSaga {
    /// The saga.
    pub start: Start,
    /// Whether `object` is this saga's alone: a second one with the same is refused by the database.
    pub owns_object: bool,
    /// The client's request.
    pub request: RequestKey,
    /// The digest of what it asks.
    pub hash: RequestHash,
}

/// What became of a START.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// The saga is durable under this id and is the caller's to run.
    New(SagaId),
    /// The request was made before, with the same content: this is its saga.
    Known(SagaId),
    /// The request id was used before for other content.
    Reused,
}

/// How a saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedAs {
    /// All its steps are done.
    Succeeded,
    /// All its steps are undone.
    Failed,
    /// An operator closed it.
    Resolved,
}

/// Where an unfinished saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunningState {
    /// On its way.
    Running,
    /// A step that must succeed keeps failing; it is still retried.
    NeedsAttention,
    /// Not retried until an operator says so.
    Parked,
}

/// An unfinished saga.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its START.
    pub start: Start,
    /// Where it stands.
    pub state: RunningState,
    /// What the operator should know.
    pub attention: Option<String>,
    /// The replica that works on it, or did last.
    pub owner: uuid::Uuid,
}

/// A finished saga.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its START; the deadline is no longer known and equals `placed_at`.
    pub start: Start,
    /// How it ended.
    pub outcome: EndedAs,
    /// The plan's record of the result.
    pub result: Vec<u8>,
    /// When END was written.
    pub ended_at: DateTime<Utc>,
}

/// What the journal says of a saga.
#[derive(Debug, Clone)]
pub enum Record {
    /// START, and no END.
    Running(Running),
    /// START and END.
    Ended(Ended),
}

impl Record {
    /// The saga's START.
    pub fn start(&self) -> &Start {
        match self {
            Self::Running(running) => &running.start,
            Self::Ended(ended) => &ended.start,
        }
    }
}

impl EndedAs {
    pub(super) const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Resolved];

    pub(super) fn code(self) -> i8 {
        match self {
            Self::Succeeded => 1,
            Self::Failed => 2,
            Self::Resolved => 3,
        }
    }

    fn from_code(code: i8) -> Result<Self> {
        match code {
            1 => Ok(Self::Succeeded),
            2 => Ok(Self::Failed),
            3 => Ok(Self::Resolved),
            other => Err(Error::Corrupt(format!("saga outcome {other}"))),
        }
    }
}

impl RunningState {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Running, Self::NeedsAttention, Self::Parked];

    pub(super) fn code(self) -> i8 {
        match self {
            Self::Running => 1,
            Self::NeedsAttention => 2,
            Self::Parked => 3,
        }
    }

    /// None for a code that this program does not know.
    fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Running),
            2 => Some(Self::NeedsAttention),
            3 => Some(Self::Parked),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = saga)]
pub(super) struct SagaRow {
    pub(super) saga_id: Bytes16,
    pub(super) kind: i8,
    pub(super) plan_version: i16,
    pub(super) subject: Name,
    pub(super) object: Name,
    pub(super) unique_object: Option<Name>,
    pub(super) weight: i64,
    pub(super) request: Vec<u8>,
    pub(super) placed_at: NaiveDateTime,
    pub(super) deadline_at: NaiveDateTime,
    pub(super) trace_id: String,
    pub(super) traceparent: String,
    pub(super) owner: Bytes16,
    pub(super) state: i8,
    pub(super) attention: Option<String>,
    pub(super) request_id: Option<Bytes16>,
}

#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = saga_history)]
pub(super) struct HistoryRow {
    pub(super) saga_id: Bytes16,
    pub(super) kind: i8,
    pub(super) plan_version: i16,
    pub(super) subject: Name,
    pub(super) object: Name,
    pub(super) weight: i64,
    pub(super) request: Vec<u8>,
    pub(super) placed_at: NaiveDateTime,
    pub(super) trace_id: String,
    pub(super) outcome: i8,
    pub(super) result: Vec<u8>,
    pub(super) ended_at: NaiveDateTime,
    pub(super) request_id: Option<Bytes16>,
}

impl SagaRow {
    pub(super) fn new(new: &NewSaga, saga: SagaId, owner: Bytes16) -> Self {
        let start = &new.start;
        Self {
            saga_id: Bytes16(saga.0),
            kind: start.plan.kind,
            plan_version: start.plan.version,
            subject: start.subject.clone(),
            object: start.object.clone(),
            unique_object: new.owns_object.then(|| start.object.clone()),
            weight: start.weight,
            request: start.request.clone(),
            placed_at: db::to_db(start.placed_at),
            deadline_at: db::to_db(start.deadline_at),
            trace_id: start.trace.trace_id.clone(),
            traceparent: start.trace.traceparent.clone(),
            owner,
            state: RunningState::Running.code(),
            attention: None,
            request_id: start.request_id.map(Bytes16),
        }
    }

    /// A saga whose state this program does not know stands still, as far as it is concerned, and says so: it must stop no
    /// list and no takeover of the others.
    pub(super) fn into_running(self) -> Running {
        let (state, attention) = if let Some(state) = RunningState::from_code(self.state) {
            (state, self.attention)
        } else {
            let saga = SagaId(self.saga_id.0);
            tracing::error!(%saga, state = self.state, "unfinished saga in an unknown state");
            let why = format!("state {} is unknown to this program", self.state);
            (RunningState::Parked, Some(why))
        };
        let start = Start {
            saga: SagaId(self.saga_id.0),
            plan: PlanId { kind: self.kind, version: self.plan_version },
            subject: self.subject,
            object: self.object,
            weight: self.weight,
            request: self.request,
            placed_at: db::from_db(self.placed_at),
            deadline_at: db::from_db(self.deadline_at),
            trace: Trace { trace_id: self.trace_id, traceparent: self.traceparent },
            request_id: self.request_id.map(|id| id.0),
        };
        Running { start, state, attention, owner: self.owner.into() }
    }
}

impl HistoryRow {
    pub(super) fn new(
        start: &Start,
        outcome: EndedAs,
        result: Vec<u8>,
        ended_at: DateTime<Utc>,
    ) -> Self {
        Self {
            saga_id: Bytes16(start.saga.0),
            kind: start.plan.kind,
            plan_version: start.plan.version,
            subject: start.subject.clone(),
            object: start.object.clone(),
            weight: start.weight,
            request: start.request.clone(),
            placed_at: db::to_db(start.placed_at),
            trace_id: start.trace.trace_id.clone(),
            outcome: outcome.code(),
            result,
            ended_at: db::to_db(ended_at),
            request_id: start.request_id.map(Bytes16),
        }
    }

    pub(super) fn into_ended(self) -> Result<Ended> {
        let outcome = EndedAs::from_code(self.outcome)?;
        let placed_at = db::from_db(self.placed_at);
        let start = Start {
            saga: SagaId(self.saga_id.0),
            plan: PlanId { kind: self.kind, version: self.plan_version },
            subject: self.subject,
            object: self.object,
            weight: self.weight,
            request: self.request,
            placed_at,
            deadline_at: placed_at,
            trace: Trace { trace_id: self.trace_id, traceparent: String::new() },
            request_id: self.request_id.map(|id| id.0),
        };
        Ok(Ended { start, outcome, result: self.result, ended_at: db::from_db(self.ended_at) })
    }
}
