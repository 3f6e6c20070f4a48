//! What operators do to sagas: each once a request, with who and why beside it.

use super::Journal;
use super::record::{EndedAs, HistoryRow, Running, RunningState, SagaRow};
use super::schema::{saga, saga_history, saga_operation};
use chrono::NaiveDateTime;
use db::{Bytes8, Bytes16, CHUNK, Conn, Result, any_of};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::{RequestHash, SagaId};
use std::collections::{HashMap, HashSet};

/// What is to be done to a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Let it go on from where it stands still.
    Retry,
    /// Close its pivot and undo its steps, unless it is certain to succeed.
    Abort,
    /// Close it as it is; `result` is what END records.
    Resolve {
        /// The plan's record of the result.
        result: Vec<u8>,
    },
}

/// One operator's request.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The request's id.
    pub request_id: [u8; 16],
    /// The digest of what it asks.
    pub hash: RequestHash,
    /// The saga.
    pub saga: SagaId,
    /// What is to be done.
    pub action: Action,
    /// Who asks; at most 64 characters.
    pub actor: String,
    /// Why; at most 500 characters.
    pub reason: String,
    /// What a repeat of the request is told, or the decision; at most 64 KiB, opaque here.
    pub record: Vec<u8>,
}

/// What became of an operator's request.
#[derive(Debug, Clone)]
pub enum Operated {
    /// Done now. The saga as it was before.
    Now(Box<Running>),
    /// Done by an earlier call of the same request.
    Earlier {
        /// That call's record.
        record: Vec<u8>,
        /// The saga, if it is still unfinished.
        unfinished: Option<Box<Running>>,
    },
    /// The request id was used for other content.
    Reused,
    /// This program does not know the saga's plan, or a participant of it: another replica may.
    CannotRun,
    /// A saga that is on its way is not resolved.
    NotStandingStill,
    /// The saga has ended.
    Ended(EndedAs),
    /// There is no such saga.
    NotFound,
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = saga_operation)]
pub(super) struct OperationRow {
    pub(super) request_id: Bytes16,
    pub(super) saga_id: Bytes16,
    pub(super) action: i8,
    pub(super) request_hash: Bytes8,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) record: Vec<u8>,
    pub(super) created_at: NaiveDateTime,
}

impl Action {
    const RETRY: i8 = 1;
    const ABORT: i8 = 2;
    const RESOLVE: i8 = 3;

    fn code(&self) -> i8 {
        match self {
            Self::Retry => Self::RETRY,
            Self::Abort => Self::ABORT,
            Self::Resolve { .. } => Self::RESOLVE,
        }
    }
}

impl Journal {
    /// Records an operator's request and does what it asks of the journal: a saga that is retried or aborted becomes
    /// this replica's, one that is resolved ends.
    ///
    /// # Errors
    /// Those of the database: ask again with the same request id.
    pub async fn operate(&self, operation: Operation) -> Result<Operated> {
        let owner = Bytes16::from(self.owner());
        self.db.tx(async move |conn: &mut Conn| operate(conn, owner, &operation).await).await
    }

    /// The recorded decisions about sagas that were resolved.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn decisions(&self, sagas: Vec<SagaId>) -> Result<HashMap<SagaId, Vec<u8>>> {
        if sagas.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Bytes16> = sagas.into_iter().map(|saga| Bytes16(saga.0)).collect();
        self.db
            .read(async move |conn: &mut Conn| -> Result<_> {
                let rows: Vec<(Bytes16, Vec<u8>)> = saga_operation::table
                    .filter(any_of(saga_operation::saga_id, ids.iter().copied()))
                    .filter(saga_operation::action.eq(Action::RESOLVE))
                    .select((saga_operation::saga_id, saga_operation::record))
                    .load(conn)
                    .await?;
                let is_asked = |row: &(Bytes16, Vec<u8>)| ids.contains(&row.0);
                let rows = conn.asked_for("saga_operation", rows, is_asked)?;
                Ok(rows.into_iter().map(|(saga, record)| (SagaId(saga.0), record)).collect())
            })
            .await
    }

    /// Those of these sagas that an operator last wanted aborted: whoever takes one over goes on with that.
    pub(crate) async fn wanted_aborts(&self, sagas: Vec<SagaId>) -> Result<HashSet<SagaId>> {
        if sagas.is_empty() {
            return Ok(HashSet::new());
        }
        let ids: Vec<Bytes16> = sagas.into_iter().map(|saga| Bytes16(saga.0)).collect();
        let rows: Vec<(Bytes16, i8, NaiveDateTime)> = self
            .db
            .read(async move |conn: &mut Conn| -> Result<_> {
                let mut all = Vec::new();
                for ids in ids.chunks(CHUNK) {
                    let rows: Vec<(Bytes16, i8, NaiveDateTime)> = saga_operation::table
                        .filter(any_of(saga_operation::saga_id, ids.iter().copied()))
                        .filter(saga_operation::action.eq_any([Action::RETRY, Action::ABORT]))
                        .select((
                            saga_operation::saga_id,
                            saga_operation::action,
                            saga_operation::created_at,
                        ))
                        .load(conn)
                        .await?;
                    all.extend(rows);
                }
                Ok(all)
            })
            .await?;
        let mut last: HashMap<SagaId, (NaiveDateTime, i8)> = HashMap::new();
        for (saga, action, at) in rows {
            let known = last.entry(SagaId(saga.0)).or_insert((at, action));
            *known = (*known).max((at, action));
        }
        let aborts = last.into_iter().filter(|(_, (_, action))| *action == Action::ABORT);
        Ok(aborts.map(|(saga, _)| saga).collect())
    }

    /// Takes the mark for the operator off an unfinished saga.
    pub(crate) async fn unmark(&self, saga: SagaId) -> Result<()> {
        let owner = Bytes16::from(self.owner());
        let id = Bytes16(saga.0);
        self.db.tx(async move |conn: &mut Conn| take(conn, id, owner).await).await
    }
}

async fn operate(conn: &mut Conn, owner: Bytes16, asked: &Operation) -> Result<Operated> {
    let id = Bytes16(asked.saga.0);
    // Its lock makes repeats wait for each other, so that the second finds the first one's row.
    let row: Option<SagaRow> = saga::table.find(id).for_update().first(conn).await.optional()?;
    let row = conn.asked_for("saga", row, |row: &SagaRow| row.saga_id == id)?;
    let unfinished = row.map(SagaRow::into_running);
    let request_id = Bytes16(asked.request_id);
    let earlier: Option<OperationRow> =
        saga_operation::table.find(request_id).first(conn).await.optional()?;
    let is_asked = |row: &OperationRow| row.request_id == request_id;
    let earlier = conn.asked_for("saga_operation", earlier, is_asked)?;
    if let Some(earlier) = earlier {
        let same = earlier.saga_id == id
            && earlier.action == asked.action.code()
            && earlier.request_hash == Bytes8(asked.hash.0);
        return Ok(if same {
            let unfinished = unfinished.map(Box::new);
            Operated::Earlier { record: earlier.record, unfinished }
        } else {
            Operated::Reused
        });
    }
    let Some(running) = unfinished else { return ended(conn, id).await };
    let stands_still = running.state != RunningState::Running;
    match &asked.action {
        Action::Resolve { .. } if !stands_still => return Ok(Operated::NotStandingStill),
        Action::Resolve { result } => resolve(conn, &running, result.clone()).await?,
        Action::Retry if !stands_still => {}
        Action::Retry | Action::Abort => take(conn, id, owner).await?,
    }
    let row = OperationRow {
        request_id,
        saga_id: id,
        action: asked.action.code(),
        request_hash: Bytes8(asked.hash.0),
        actor: asked.actor.clone(),
        reason: asked.reason.clone(),
        record: asked.record.clone(),
        created_at: db::to_db(db::now_micros()),
    };
    diesel::insert_into(saga_operation::table).values(row).execute(conn).await?;
    Ok(Operated::Now(Box::new(running)))
}

async fn ended(conn: &mut Conn, id: Bytes16) -> Result<Operated> {
    let outcome: Option<HistoryRow> = saga_history::table.find(id).first(conn).await.optional()?;
    let outcome = conn.asked_for("saga_history", outcome, |row: &HistoryRow| row.saga_id == id)?;
    match outcome {
        Some(row) => Ok(Operated::Ended(row.into_ended()?.outcome)),
        None => Ok(Operated::NotFound),
    }
}

async fn take(conn: &mut Conn, id: Bytes16, owner: Bytes16) -> Result<()> {
    diesel::update(saga::table.find(id))
        .set((
            saga::owner.eq(owner),
            saga::state.eq(RunningState::Running.code()),
            saga::attention.eq(None::<String>),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

async fn resolve(conn: &mut Conn, running: &Running, result: Vec<u8>) -> Result<()> {
    let row = HistoryRow::new(&running.start, EndedAs::Resolved, result, db::now_micros());
    diesel::insert_into(saga_history::table).values(row).execute(conn).await?;
    let id = Bytes16(running.start.saga.0);
    diesel::delete(saga::table.find(id)).execute(conn).await?;
    Ok(())
}
