//! The watermark's way down, for operators: after a clock that was wrong for long had raised it.
//!
//! No orchestrator may run meanwhile: one that is about to raise it, or to tell a participant of it, knows nothing of this.

use super::operation::OperationRow;
use super::schema::{heartbeat, saga_history, saga_operation, saga_watermark};
use super::watermark::{self, below, first_of};
use chrono::{DateTime, Utc};
use db::{Bytes8, Bytes16, Conn, Db, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The number of the operation in the journal.
const LOWER: i8 = 6;

/// The watermark of a journal.
///
/// # Errors
/// Those of the database.
pub async fn watermark_of(db: &Db) -> Result<SagaId> {
    db.read(async |conn: &mut Conn| watermark::drawn_above(conn).await).await
}

/// The counters of all orchestrators: of one that runs, it moves every second.
///
/// # Errors
/// Those of the database.
pub async fn heartbeats(db: &Db) -> Result<BTreeMap<Uuid, i64>> {
    let beats: Vec<(Bytes16, i64)> = db
        .read(async |conn: &mut Conn| -> Result<_> {
            Ok(heartbeat::table.select((heartbeat::owner, heartbeat::beat)).load(conn).await?)
        })
        .await?;
    Ok(beats.into_iter().map(|(owner, beat)| (Uuid::from_bytes(owner.0), beat)).collect())
}

/// How low the watermark may be put at `now`: not below a saga that is on record as ended, and not below what may have begun
/// until now, for of that the participants may have forgotten what they did. Every unfinished saga is above the watermark
/// that stands, so it is above this, too.
///
/// # Errors
/// Those of the database.
pub async fn lowest_watermark(db: &Db, now: DateTime<Utc>) -> Result<SagaId> {
    let begun = below(first_of(now));
    db.read(async move |conn: &mut Conn| -> Result<SagaId> {
        let watermark = Bytes16(watermark::drawn_above(conn).await?.0);
        let newest: Option<Bytes16> = saga_history::table
            .filter(saga_history::saga_id.le(watermark))
            .order(saga_history::saga_id.desc())
            .select(saga_history::saga_id)
            .first(conn)
            .await
            .optional()?;
        Ok(newest.map_or(begun, |newest| SagaId(newest.0).max(begun)))
    })
    .await
}

/// Lowers the watermark of a journal, and records who wanted that, and why. One that is lower already stays.
///
/// # Errors
/// Those of the database.
pub async fn lower_watermark(db: &Db, to: SagaId, actor: &str, reason: &str) -> Result<()> {
    let (actor, reason) = (actor.to_owned(), reason.to_owned());
    let request_id = Bytes16::from(Uuid::new_v4());
    db.tx(async move |conn: &mut Conn| -> Result<()> {
        let from = watermark::drawn_above(conn).await?;
        diesel::update(saga_watermark::table.filter(saga_watermark::watermark.gt(Bytes16(to.0))))
            .set(saga_watermark::watermark.eq(Bytes16(to.0)))
            .execute(conn)
            .await?;
        let row = OperationRow {
            request_id,
            saga_id: Bytes16([0; 16]),
            action: LOWER,
            request_hash: Bytes8([0; 8]),
            actor: actor.clone(),
            reason: reason.clone(),
            record: format!("{from} to {to}").into_bytes(),
            created_at: db::to_db(db::now_micros()),
        };
        diesel::insert_into(saga_operation::table).values(row).execute(conn).await?;
        Ok(())
    })
    .await
}
