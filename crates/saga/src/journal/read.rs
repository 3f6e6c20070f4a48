//! Questions to the journal.

use super::record::{HistoryRow, Record, Running, RunningState, SagaRow};
use super::schema::{request, saga, saga_history};
use super::{EndedAs, Journal};
use chrono::{DateTime, Utc};
use db::{Bytes8, Bytes16, Conn, Error, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::{Name, RequestHash, RequestKey, SagaId};

/// Which sagas to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of this subject.
    pub subject: Option<Name>,
    /// Only those of this kind.
    pub kind: Option<i8>,
    /// Unfinished ones in one of these states; empty for none.
    pub running: Vec<RunningState>,
    /// Finished ones with one of these outcomes; empty for none.
    pub ended: Vec<EndedAs>,
    /// Only those placed before.
    pub placed_before: Option<DateTime<Utc>>,
    /// Only those with a smaller id: where the page before ended.
    pub below: Option<SagaId>,
}

impl Journal {
    /// What is known of a saga.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find(&self, id: SagaId) -> Result<Option<Record>> {
        self.db.read(async move |conn: &mut Conn| find(conn, Bytes16(id.0)).await).await
    }

    /// The saga of a client's request, and the digest of what it asked.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find_request(&self, key: RequestKey) -> Result<Option<(SagaId, RequestHash)>> {
        self.db
            .read(async move |conn: &mut Conn| -> Result<_> {
                let row: Option<(Bytes16, Name, i8, Bytes8, Bytes16)> = request::table
                    .find((Bytes16(key.request_id), &key.subject, key.method))
                    .select((
                        request::request_id,
                        request::subject,
                        request::method,
                        request::request_hash,
                        request::saga_id,
                    ))
                    .first(conn)
                    .await
                    .optional()?;
                let is_asked = |(id, subject, method, ..): &(Bytes16, Name, i8, _, _)| {
                    (&id.0, subject, *method) == (&key.request_id, &key.subject, key.method)
                };
                let row = conn.asked_for("request", row, is_asked)?;
                Ok(row.map(|(_, _, _, hash, saga)| (SagaId(saga.0), RequestHash(hash.0))))
            })
            .await
    }

    /// At most `limit` sagas, newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self, filter: Filter, limit: usize) -> Result<Vec<Record>> {
        self.db.read(async move |conn: &mut Conn| list(conn, &filter, limit).await).await
    }

    /// Marks an unfinished saga for the operator.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn mark(&self, id: SagaId, state: RunningState, why: String) -> Result<()> {
        let why: String = why.chars().take(200).collect();
        self.db
            .tx(async move |conn: &mut Conn| -> Result<()> {
                diesel::update(saga::table.find(Bytes16(id.0)))
                    .set((saga::state.eq(state.code()), saga::attention.eq(why)))
                    .execute(conn)
                    .await?;
                Ok(())
            })
            .await
    }
}

async fn find(conn: &mut Conn, id: Bytes16) -> Result<Option<Record>> {
    let running: Option<SagaRow> = saga::table.find(id).first(conn).await.optional()?;
    let running = conn.asked_for("saga", running, |row: &SagaRow| row.saga_id == id)?;
    if let Some(row) = running {
        return Ok(Some(Record::Running(row.into_running())));
    }
    let ended: Option<HistoryRow> = saga_history::table.find(id).first(conn).await.optional()?;
    let ended = conn.asked_for("saga_history", ended, |row: &HistoryRow| row.saga_id == id)?;
    ended.map(|row| row.into_ended().map(Record::Ended)).transpose()
}

async fn list(conn: &mut Conn, filter: &Filter, limit: usize) -> Result<Vec<Record>> {
    let running = running(conn, filter, limit).await?;
    let mut records = ended(conn, filter, limit).await?;
    // A saga that ended between the two reads stands in both; the sort is stable, and its end is kept.
    records.extend(running);
    records.sort_by_key(|record| std::cmp::Reverse(record.start().saga));
    records.dedup_by_key(|record| record.start().saga);
    records.truncate(limit);
    Ok(records)
}

fn rows(limit: usize) -> Result<i64> {
    i64::try_from(limit).map_err(|_| Error::Corrupt(format!("page of {limit}")))
}

async fn running(conn: &mut Conn, filter: &Filter, limit: usize) -> Result<Vec<Record>> {
    if filter.running.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = saga::table.order(saga::saga_id.desc()).limit(rows(limit)?).into_boxed();
    // States that this program does not know count as standing still.
    let is_wanted = |state: &RunningState| filter.running.contains(state);
    let states = RunningState::ALL.into_iter();
    if !is_wanted(&RunningState::Parked) {
        let wanted: Vec<i8> = states.filter(is_wanted).map(RunningState::code).collect();
        query = query.filter(saga::state.eq_any(wanted));
    } else if filter.running.len() < RunningState::ALL.len() {
        let others = states.filter(|state| !is_wanted(state)).map(RunningState::code);
        query = query.filter(saga::state.ne_all(others.collect::<Vec<i8>>()));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(saga::subject.eq(subject));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(saga::kind.eq(kind));
    }
    if let Some(before) = filter.placed_before {
        query = query.filter(saga::placed_at.lt(db::to_db(before)));
    }
    if let Some(below) = filter.below {
        query = query.filter(saga::saga_id.lt(Bytes16(below.0)));
    }
    let rows: Vec<SagaRow> = query.load(conn).await?;
    Ok(rows.into_iter().map(|row| Record::Running(row.into_running())).collect())
}

async fn ended(conn: &mut Conn, filter: &Filter, limit: usize) -> Result<Vec<Record>> {
    if filter.ended.is_empty() {
        return Ok(Vec::new());
    }
    let mut query =
        saga_history::table.order(saga_history::saga_id.desc()).limit(rows(limit)?).into_boxed();
    if filter.ended.len() < 3 {
        let outcomes: Vec<i8> = filter.ended.iter().map(|outcome| outcome.code()).collect();
        query = query.filter(saga_history::outcome.eq_any(outcomes));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(saga_history::subject.eq(subject));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(saga_history::kind.eq(kind));
    }
    if let Some(before) = filter.placed_before {
        query = query.filter(saga_history::placed_at.lt(db::to_db(before)));
    }
    if let Some(below) = filter.below {
        query = query.filter(saga_history::saga_id.lt(Bytes16(below.0)));
    }
    let rows: Vec<HistoryRow> = query.load(conn).await?;
    // One that does not decode must not hide the others.
    let readable = |row: HistoryRow| {
        let saga = SagaId(row.saga_id.0);
        let ended = row.into_ended();
        ended.inspect_err(|error| tracing::error!(%saga, %error, "finished saga not readable")).ok()
    };
    Ok(rows.into_iter().filter_map(readable).map(Record::Ended).collect())
}

impl Journal {
    /// Unfinished sagas of this replica that are older than `before` and not in `live`: left behind by a START whose
    /// commit nobody heard of.
    pub(crate) async fn strays(&self, before: DateTime<Utc>) -> Result<Vec<Running>> {
        let owner = Bytes16::from(self.owner());
        self.db
            .read(async move |conn: &mut Conn| -> Result<_> {
                let rows: Vec<SagaRow> = saga::table
                    .filter(saga::owner.eq(owner))
                    .filter(saga::placed_at.lt(db::to_db(before)))
                    .order(saga::saga_id)
                    .limit(500)
                    .load(conn)
                    .await?;
                Ok(rows.into_iter().map(SagaRow::into_running).collect())
            })
            .await
    }
}
