//! Forgetting sagas that ended long ago.
//!
//! The floor stands just below the oldest unfinished saga and never above what the retention keeps. START reads it in
//! its own transaction, so that whoever raises it has seen every saga that is below: participants may then forget all
//! that is.

use super::Journal;
use super::record::EndedAs;
use super::schema::{request, saga, saga_floor, saga_history};
use chrono::{DateTime, Utc};
use db::{Bytes16, Conflict, Conn, Error, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::time::Duration;
use uuid::{NoContext, Timestamp, Uuid};

/// How often the floor's row is tried for, and the pause between two tries. Every START holds it for a moment, and whoever
/// queued for it would make those that come after wait.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// Sagas that are forgotten in one transaction.
const BATCH: i64 = 500;

impl Journal {
    /// The floor: sagas at or below it are over, and participants may have forgotten them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn floor(&self) -> Result<SagaId> {
        self.db
            .read(async |conn: &mut Conn| -> Result<SagaId> {
                let row = saga_floor::table.find(1).select(saga_floor::floor);
                let floor: Bytes16 = row.first(conn).await?;
                Ok(SagaId(floor.0))
            })
            .await
    }

    /// Raises the floor as far as it may be, but not to sagas that began at `kept_from` or later. Tells where it is then;
    /// `None` when its row was never free: another time, then.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn raise_floor(&self, kept_from: DateTime<Utc>) -> Result<Option<SagaId>> {
        let most = below(first_of(kept_from));
        for _ in 0..TRIES {
            let raised = self.db.tx(async move |conn: &mut Conn| raise(conn, most).await).await?;
            if raised.is_some() {
                return Ok(raised);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// Deletes ended sagas at or below the floor that ended before this, with their requests, a few at a time. Tells how
    /// many. Those that a person resolved stay: their record explains what they left. So do the few of which the request is
    /// not known, lest it stood there without its saga.
    ///
    /// # Errors
    /// Those of the database; what was deleted stays deleted.
    pub async fn forget(&self, ended_before: DateTime<Utc>) -> Result<usize> {
        let ended_before = db::to_db(ended_before);
        let mut all = 0;
        loop {
            let deleted = self
                .db
                .tx(async move |conn: &mut Conn| -> Result<usize> {
                    let floor: Bytes16 =
                        saga_floor::table.find(1).select(saga_floor::floor).first(conn).await?;
                    let ended: Vec<(Bytes16, Bytes16)> = saga_history::table
                        .filter(saga_history::saga_id.le(floor))
                        .filter(saga_history::ended_at.lt(ended_before))
                        .filter(saga_history::outcome.ne(EndedAs::Resolved.code()))
                        .filter(saga_history::request_id.is_not_null())
                        .order(saga_history::saga_id)
                        .limit(BATCH)
                        .select((saga_history::saga_id, saga_history::request_id.assume_not_null()))
                        .for_update()
                        .load(conn)
                        .await?;
                    forget(conn, ended).await
                })
                .await?;
            all += deleted;
            if i64::try_from(deleted).is_ok_and(|deleted| deleted < BATCH) {
                return Ok(all);
            }
        }
    }
}

async fn raise(conn: &mut Conn, most: SagaId) -> Result<Option<SagaId>> {
    let row = saga_floor::table.find(1).select(saga_floor::floor);
    let locked: QueryResult<Bytes16> = row.for_update().no_wait().get_result(conn).await;
    let floor = match locked.map_err(Error::from) {
        Ok(floor) => SagaId(floor.0),
        Err(error) if is_taken(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let oldest: Option<Bytes16> =
        saga::table.select(saga::saga_id).order(saga::saga_id).first(conn).await.optional()?;
    let to = oldest.map_or(most, |oldest| below(SagaId(oldest.0)).min(most));
    if to <= floor {
        return Ok(Some(floor));
    }
    diesel::update(saga_floor::table.find(1))
        .set(saga_floor::floor.eq(Bytes16(to.0)))
        .execute(conn)
        .await?;
    Ok(Some(to))
}

/// Whether somebody else holds the row: `MariaDB` says so as a lock timeout, MySQL in words of its own.
fn is_taken(error: &Error) -> bool {
    match error {
        Error::Conflict(Conflict::LockTimeout) => true,
        Error::Server(text) => text.contains("NOWAIT"),
        _ => false,
    }
}

async fn forget(conn: &mut Conn, ended: Vec<(Bytes16, Bytes16)>) -> Result<usize> {
    let count = ended.len();
    if count == 0 {
        return Ok(0);
    }
    let (sagas, requests): (Vec<Bytes16>, Vec<Bytes16>) = ended.into_iter().unzip();
    let asked = request::table
        .filter(request::request_id.eq_any(requests))
        .filter(request::saga_id.eq_any(sagas.clone()));
    diesel::delete(asked).execute(conn).await?;
    let ended = saga_history::table.filter(saga_history::saga_id.eq_any(sagas));
    diesel::delete(ended).execute(conn).await?;
    Ok(count)
}

/// The smallest id of a saga that began then: such ids begin with their milliseconds.
fn first_of(at: DateTime<Utc>) -> SagaId {
    let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
    let stamp = Timestamp::from_unix(NoContext, seconds, at.timestamp_subsec_nanos());
    let mut bytes = *Uuid::new_v7(stamp).as_bytes();
    bytes.iter_mut().skip(6).for_each(|byte| *byte = 0);
    SagaId(bytes)
}

fn below(saga: SagaId) -> SagaId {
    SagaId(u128::from_be_bytes(saga.0).saturating_sub(1).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_drawn_later_are_above() {
        let now = Utc::now();
        let first = first_of(now);
        assert!(first <= SagaId::from(Uuid::now_v7()));
        assert!(first_of(now - chrono::TimeDelta::milliseconds(1)) < first);
        assert!(below(first) < first);
        assert_eq!(below(SagaId([0; 16])), SagaId([0; 16]));
    }
}
