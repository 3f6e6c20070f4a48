//! Questions to the journal.

use super::Journal;
use super::record::{HistoryRow, Record, Running, RunningState, SagaRow};
use super::schema::{request, saga, saga_history};
use chrono::{DateTime, Utc};
use db::{Bytes8, Bytes16, Conn, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::{Name, RequestHash, RequestKey, SagaId};

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
