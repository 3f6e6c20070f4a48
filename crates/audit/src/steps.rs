//! What a participant's barrier rows say of a saga, beside the rows that its steps made.
//!
//! Both stand in one schema and are read as one stream, sorted by saga, so that a saga's rows come side by side in one
//! snapshot, whatever is under way.

use crate::snapshot::Rows;
use anyhow::Result;
use api::Refusal;
use db::Bytes16;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool};
use futures_util::TryStreamExt;
use participant::{RowState, SagaId};
use prost::Message;

/// The columns of a barrier row, and in any other row its saga.
#[derive(QueryableByName)]
pub(crate) struct StepColumns {
    #[diesel(sql_type = Binary)]
    saga_id: Bytes16,
    #[diesel(sql_type = Bool)]
    is_step: bool,
    #[diesel(sql_type = BigInt)]
    step: i64,
    #[diesel(sql_type = BigInt)]
    state: i64,
    #[diesel(sql_type = Binary)]
    reply: Vec<u8>,
}

/// What became of a step.
#[derive(Debug, Clone, Default)]
pub(crate) enum Standing<T> {
    /// No row.
    #[default]
    Absent,
    /// Its effect stands.
    Done(T),
    /// Refused.
    Rejected(Refusal),
    /// Its effect was undone.
    Compensated(T),
    /// It never ran.
    Tombstone,
}

/// A row of a schema's stream.
pub(crate) trait SagaRow: Send {
    /// Its step, or just its saga.
    fn columns(&self) -> &StepColumns;

    /// The saga.
    fn saga(&self) -> SagaId {
        SagaId(self.columns().saga_id.0)
    }

    /// The barrier row, if it is one.
    fn step(&self) -> Option<&StepColumns> {
        Some(self.columns()).filter(|columns| columns.is_step)
    }
}

impl StepColumns {
    /// The step's number.
    pub(crate) fn number(&self) -> i64 {
        self.step
    }

    /// The code of the row's state, whatever kind of row it is.
    pub(crate) fn state(&self) -> i64 {
        self.state
    }

    /// What became of the step; `None` for what no version wrote.
    pub(crate) fn standing<T: Message + Default>(&self) -> Option<Standing<T>> {
        let reply = || T::decode(self.reply.as_slice()).ok();
        Some(match RowState::from_code(i8::try_from(self.state).ok()?)? {
            RowState::Done => Standing::Done(reply()?),
            RowState::Rejected => Standing::Rejected(Refusal::decode(&self.reply).ok()?),
            RowState::Compensated => Standing::Compensated(reply()?),
            RowState::Tombstone => Standing::Tombstone,
        })
    }
}

impl<T> Standing<T> {
    /// The reply of a step whose effect stands.
    pub(crate) fn done(&self) -> Option<&T> {
        match self {
            Self::Done(reply) => Some(reply),
            _ => None,
        }
    }

    /// The refusal on record.
    pub(crate) fn rejected(&self) -> Option<&Refusal> {
        match self {
            Self::Rejected(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether there is no row.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A schema's rows, saga by saga.
pub(crate) struct BySaga<'a, R> {
    rows: Rows<'a, R>,
    next: Option<R>,
}

impl<'a, R: SagaRow> BySaga<'a, R> {
    /// From a stream that is sorted by saga.
    pub(crate) async fn new(mut rows: Rows<'a, R>) -> Result<Self> {
        let next = rows.try_next().await?;
        Ok(Self { rows, next })
    }

    /// The saga that comes next.
    pub(crate) fn peek(&self) -> Option<SagaId> {
        self.next.as_ref().map(SagaRow::saga)
    }

    /// All rows of this saga; none if another one comes next.
    pub(crate) async fn take(&mut self, saga: SagaId) -> Result<Vec<R>> {
        let mut taken = Vec::new();
        while let Some(row) = self.next.take_if(|row| row.saga() == saga) {
            taken.push(row);
            self.next = self.rows.try_next().await?;
        }
        Ok(taken)
    }
}
