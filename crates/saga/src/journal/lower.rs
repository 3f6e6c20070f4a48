//! The floor's way down, for operators: after a clock that was wrong for long had raised it.
//!
//! No orchestrator may run meanwhile: one that is about to raise it, or to tell a participant of it, knows nothing of this.

use super::floor::{self, below, first_of};
use super::operation::OperationRow;
use super::schema::{heartbeat, saga_floor, saga_history, saga_operation};
use chrono::{DateTime, Utc};
use db::{Bytes8, Bytes16, Conn, Db, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The number of the operation in the journal.
const LOWER: i8 = 6;

/// The floor of a journal.
///
/// # Errors
/// Those of the database.
pub async fn floor_of(db: &Db) -> Result<SagaId> {
    db.read(async |conn: &mut Conn| floor::drawn_above(conn).await).await
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

/// How low the floor may be put at `now`: not below a saga that is on record as ended, and not below what may have begun
/// until now, for of that the participants may have forgotten what they did. Every unfinished saga is above the floor
/// that stands, so it is above this, too.
///
/// # Errors
/// Those of the database.
pub async fn lowest_floor(db: &Db, now: DateTime<Utc>) -> Result<SagaId> {
    let begun = below(first_of(now));
    db.read(async move |conn: &mut Conn| -> Result<SagaId> {
        let floor = Bytes16(floor::drawn_above(conn).await?.0);
        let newest: Option<Bytes16> = saga_history::table
            .filter(saga_history::saga_id.le(floor))
            .order(saga_history::saga_id.desc())
            .select(saga_history::saga_id)
            .first(conn)
            .await
            .optional()?;
        Ok(newest.map_or(begun, |newest| SagaId(newest.0).max(begun)))
    })
    .await
}

/// Lowers the floor of a journal, and records who wanted that, and why. One that is lower already stays.
///
/// # Errors
/// Those of the database.
pub async fn lower_floor(db: &Db, to: SagaId, actor: &str, reason: &str) -> Result<()> {
    let (actor, reason) = (actor.to_owned(), reason.to_owned());
    let request_id = Bytes16::from(Uuid::new_v4());
    db.tx(async move |conn: &mut Conn| -> Result<()> {
        let from = floor::drawn_above(conn).await?;
        diesel::update(saga_floor::table.filter(saga_floor::floor.gt(Bytes16(to.0))))
            .set(saga_floor::floor.eq(Bytes16(to.0)))
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
