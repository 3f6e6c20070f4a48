//! Forgetting sagas that ended long ago.
//!
//! The watermark stands just below the oldest unfinished saga, never above what the retention keeps, and never above the newest
//! saga that is on record as ended, whatever a clock says. Participants may forget all that is at or below it.
//!
//! It is raised without making anybody wait for long:
//! 1. What it is about to be raised to is announced and committed. Every START that reads the watermark from now on draws its
//!    id above that.
//! 2. Each START that may have read before is waited for: START holds its replica's heartbeat row, so each of these rows is
//!    locked once and let go at once, one after the other.
//! 3. Now all that may ever stand below is committed: the watermark is raised to just below the oldest of that.
//!
//! `model/watermark.rs` explores this, and shows what each part is for.

use super::Journal;
use super::record::EndedAs;
use super::schema::{heartbeat, request, saga, saga_history, saga_watermark};
use chrono::{DateTime, Utc};
use db::{Bytes16, Conn, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use uuid::{NoContext, Timestamp, Uuid};

/// The rows of the table: the watermark, and what it is about to be raised to.
const WATERMARK: i8 = 1;
const ANNOUNCED: i8 = 2;
/// Sagas that are forgotten in one transaction.
const BATCH: i64 = 500;
/// The bits of an id that say that it is a `UUIDv7`.
const V7: u128 = 0x7000_8000_0000_0000_0000;
/// And the random ones beside them.
const TAIL: u128 = 0x0FFF_3FFF_FFFF_FFFF_FFFF;

impl Journal {
    /// The watermark: sagas at or below it are over, and participants may have forgotten them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn watermark(&self) -> Result<SagaId> {
        self.db
            .read(async |conn: &mut Conn| -> Result<SagaId> {
                let row = saga_watermark::table.find(WATERMARK).select(saga_watermark::watermark);
                let watermark: Bytes16 = row.first(conn).await?;
                Ok(SagaId(watermark.0))
            })
            .await
    }

    /// Raises the watermark as far as it may be, but not to sagas that began at `kept_from` or later. Tells where it is then.
    ///
    /// # Errors
    /// Those of the database, such as a replica that holds its heartbeat row for long; the watermark is where it was, then.
    pub async fn raise_watermark(&self, kept_from: DateTime<Utc>) -> Result<SagaId> {
        let most = below(first_of(kept_from));
        let to = self.db.tx(async move |conn: &mut Conn| announce(conn, most).await).await?;
        let Some(to) = to else { return self.watermark().await };
        let replicas: Vec<Bytes16> = self
            .db
            .read(async |conn: &mut Conn| -> Result<Vec<Bytes16>> {
                Ok(heartbeat::table.select(heartbeat::owner).load(conn).await?)
            })
            .await?;
        for replica in replicas {
            self.db
                .tx(async move |conn: &mut Conn| -> Result<()> {
                    let row = heartbeat::table.find(replica).select(heartbeat::beat).for_update();
                    row.first::<i64>(conn).await.optional()?;
                    Ok(())
                })
                .await?;
        }
        self.db.tx(async move |conn: &mut Conn| raise(conn, to).await).await
    }

    /// Deletes ended sagas at or below the watermark that ended before this, with their requests, a few at a time. Tells how
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
                    let watermark: Bytes16 = saga_watermark::table
                        .find(WATERMARK)
                        .select(saga_watermark::watermark)
                        .first(conn)
                        .await?;
                    let ended: Vec<(Bytes16, Bytes16)> = saga_history::table
                        .filter(saga_history::saga_id.le(watermark))
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

/// What START draws its id above: the watermark, and what it is about to be raised to.
pub(super) async fn drawn_above(conn: &mut Conn) -> Result<SagaId> {
    let rows: Vec<Bytes16> =
        saga_watermark::table.select(saga_watermark::watermark).load(conn).await?;
    let highest = rows.into_iter().max().ok_or(diesel::result::Error::NotFound)?;
    Ok(SagaId(highest.0))
}

/// This id if it is above the watermark, else one that is: at or below it participants take a saga for purged. Whatever this
/// machine's clock says, there is one, and a START that is tried again gets the same.
pub(super) fn above(watermark: SagaId, drawn: SagaId) -> SagaId {
    if drawn > watermark {
        return drawn;
    }
    let next = (u128::from_be_bytes(watermark.0) >> 80) + 1;
    let random = u128::from_be_bytes(drawn.0) & TAIL;
    SagaId((next << 80 | V7 | random).to_be_bytes())
}

/// Whether a saga's id is the one that was drawn, or was made of it by [`above`].
pub(super) fn is_of(saga: SagaId, drawn: SagaId) -> bool {
    let random = |id: SagaId| u128::from_be_bytes(id.0) & TAIL;
    random(saga) == random(drawn)
}

/// Tells every START from now on to what the watermark is about to be raised; none if it is there already.
async fn announce(conn: &mut Conn, most: SagaId) -> Result<Option<SagaId>> {
    let Some(watermark) = locked(conn, WATERMARK).await? else {
        return Err(diesel::result::Error::NotFound.into());
    };
    let newest: Option<Bytes16> = saga_history::table
        .select(saga_history::saga_id)
        .order(saga_history::saga_id.desc())
        .first(conn)
        .await
        .optional()?;
    let to = newest.map_or(watermark, |newest| SagaId(newest.0).min(most));
    if to <= watermark {
        return Ok(None);
    }
    match locked(conn, ANNOUNCED).await? {
        Some(announced) if announced >= to => {}
        Some(_) => write(conn, ANNOUNCED, to).await?,
        None => {
            let row =
                (saga_watermark::id.eq(ANNOUNCED), saga_watermark::watermark.eq(Bytes16(to.0)));
            diesel::insert_into(saga_watermark::table).values(row).execute(conn).await?;
        }
    }
    Ok(Some(to))
}

/// Raises the watermark to what was announced, but below every unfinished saga. If an operator has lowered it meanwhile, it
/// stays: then STARTs draw their ids lower again.
async fn raise(conn: &mut Conn, announced: SagaId) -> Result<SagaId> {
    let watermark = locked(conn, WATERMARK).await?.ok_or(diesel::result::Error::NotFound)?;
    let stands = locked(conn, ANNOUNCED).await?.is_some_and(|stands| stands >= announced);
    let oldest: Option<Bytes16> =
        saga::table.select(saga::saga_id).order(saga::saga_id).first(conn).await.optional()?;
    let to = oldest.map_or(announced, |oldest| below(SagaId(oldest.0)).min(announced));
    if to <= watermark || !stands {
        return Ok(watermark);
    }
    write(conn, WATERMARK, to).await?;
    Ok(to)
}

async fn locked(conn: &mut Conn, row: i8) -> Result<Option<SagaId>> {
    let row = saga_watermark::table.find(row).select(saga_watermark::watermark).for_update();
    let watermark: Option<Bytes16> = row.first(conn).await.optional()?;
    Ok(watermark.map(|watermark| SagaId(watermark.0)))
}

async fn write(conn: &mut Conn, row: i8, to: SagaId) -> Result<()> {
    let row = diesel::update(saga_watermark::table.find(row));
    row.set(saga_watermark::watermark.eq(Bytes16(to.0))).execute(conn).await?;
    Ok(())
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
pub(super) fn first_of(at: DateTime<Utc>) -> SagaId {
    let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
    let stamp = Timestamp::from_unix(NoContext, seconds, at.timestamp_subsec_nanos());
    let mut bytes = *Uuid::new_v7(stamp).as_bytes();
    bytes.iter_mut().skip(6).for_each(|byte| *byte = 0);
    SagaId(bytes)
}

pub(super) fn below(saga: SagaId) -> SagaId {
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

    #[test]
    fn an_id_above_the_watermark_stays_and_any_other_becomes_one_whatever_the_clock() {
        let (ahead, behind) = (chrono::TimeDelta::days(8), chrono::TimeDelta::days(-8));
        let drawn = SagaId::from(Uuid::now_v7());
        assert_eq!(above(first_of(Utc::now() + behind), drawn), drawn);
        for watermark in
            [first_of(Utc::now() + ahead), drawn, above(first_of(Utc::now() + ahead), drawn)]
        {
            let redrawn = above(watermark, drawn);
            assert!(redrawn > watermark);
            assert_eq!(redrawn, above(watermark, drawn), "tried again it is the same");
            assert!(is_of(redrawn, drawn) && !is_of(redrawn, SagaId::from(Uuid::now_v7())));
            let (redrawn, drawn) = (Uuid::from_bytes(redrawn.0), Uuid::from_bytes(drawn.0));
            assert_eq!(redrawn.get_version_num(), 7);
            assert_eq!(redrawn.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(redrawn.as_bytes()[8..], drawn.as_bytes()[8..], "its random bits");
        }
    }
}
