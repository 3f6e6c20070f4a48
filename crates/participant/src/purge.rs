//! Forgetting sagas that are over, and refusals that are old.
//!
//! The watermark is raised and committed first; only then may rows at or below it go. A batch that finds no row reads the
//! watermark after that, and once more after it has inserted a row of its own, whose key keeps others from that step: so it
//! either meets the row, or is told that the saga is purged, or is the first. Nobody holds the watermark meanwhile.
//! A request that was delayed for hours, or an executor that was frozen, has no effect.
//!
//! Rows go a thousand a transaction, by primary key: nobody waits long for one. Replicas may do it at once;
//! they take turns to save work.

use crate::SagaId;
use crate::schema::{saga_op, saga_watermark};
use chrono::NaiveDateTime;
use db::{Bytes16, Conn, Db, Result};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Datetime};
use diesel_async::RunQueryDsl;
use lock::Turn;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Rows of one transaction.
const BATCH: i64 = 1_000;
/// Transactions of one round that look for old refusals, most of which find none.
const LOOKS: usize = 100;

/// How a participant forgets.
#[derive(Debug, Clone, Copy)]
pub struct Housekeeping {
    /// Time between rounds.
    pub interval: Duration,
    /// How long refusals of clients' requests are remembered.
    pub retention: Duration,
}

/// Deletes what a schema need not remember.
pub struct Housekeeper {
    db: Db,
    options: Housekeeping,
    /// Where the walk over clients' requests stands. Their keys are the clients' and tell nothing of time, so that old
    /// ones are found by walking over all, a part each round, round and round.
    walked: [u8; 16],
}

/// What a round deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Barrier rows.
    pub steps: usize,
    /// Refusals of clients' requests.
    pub refusals: usize,
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = Binary)]
    request_id: Bytes16,
}

impl Housekeeper {
    /// Of the schema of `db`.
    pub fn new(db: Db, options: Housekeeping) -> Self {
        Self { db, options, walked: [0; 16] }
    }

    /// Keeps the schema small, when it is this replica's `turn`, until cancelled.
    pub async fn run(mut self, turn: Turn, cancel: CancellationToken) {
        let mut due = tokio::time::interval(self.options.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                due.tick().await;
                match turn.run(self.round()).await {
                    None => {}
                    Some(Ok(forgotten)) if forgotten == Forgotten::default() => {}
                    Some(Ok(Forgotten { steps, refusals })) => {
                        tracing::debug!(steps, refusals, "forgot what is over");
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "rows that are over were not deleted");
                    }
                }
            }
        };
        Box::pin(cancel.run_until_cancelled(rounds)).await;
    }

    /// Deletes all barrier rows at or below the watermark, and the old refusals of the next part of the requests; nothing while
    /// the clocks are not trusted.
    ///
    /// # Errors
    /// Those of the database; what was deleted stays deleted.
    pub async fn round(&mut self) -> Result<Forgotten> {
        let Some(before) = self.db.clock().cutoff(self.options.retention).await? else {
            return Ok(Forgotten::default());
        };
        let before = db::to_db(before);
        Ok(Forgotten { steps: self.steps().await?, refusals: self.refusals(before).await? })
    }

    /// All rows of a saga go together, for what sees some of them would miss the others.
    async fn steps(&self) -> Result<usize> {
        let mut all = 0;
        loop {
            let (deleted, more) = self
                .db
                .tx(async |conn: &mut Conn| -> Result<(usize, bool)> {
                    let watermark: Bytes16 = saga_watermark::table
                        .find(1)
                        .select(saga_watermark::watermark)
                        .first(conn)
                        .await?;
                    let over = saga_op::table.filter(saga_op::saga_id.le(watermark));
                    let last: Option<Bytes16> = over
                        .order((saga_op::saga_id, saga_op::step))
                        .select(saga_op::saga_id)
                        .offset(BATCH)
                        .limit(1)
                        .first(conn)
                        .await
                        .optional()?;
                    let part = over.filter(saga_op::saga_id.le(last.unwrap_or(watermark)));
                    Ok((diesel::delete(part).execute(conn).await?, last.is_some()))
                })
                .await?;
            all += deleted;
            if !more {
                return Ok(all);
            }
        }
    }

    async fn refusals(&mut self, before: NaiveDateTime) -> Result<usize> {
        let mut all = 0;
        for _ in 0..LOOKS {
            let from = Bytes16(self.walked);
            let (deleted, through) = self
                .db
                .tx(async move |conn: &mut Conn| -> Result<(usize, Option<Bytes16>)> {
                    let through: Option<Key> = diesel::sql_query(
                        "SELECT request_id FROM idempotency WHERE request_id > ? \
                        ORDER BY request_id LIMIT 1 OFFSET ?",
                    )
                    .bind::<Binary, _>(from)
                    .bind::<BigInt, _>(BATCH)
                    .get_result(conn)
                    .await
                    .optional()?;
                    let through = through.map(|key| key.request_id);
                    let deleted = diesel::sql_query(
                        "DELETE FROM idempotency WHERE request_id >= ? AND request_id <= ? \
                        AND refused = 1 AND created_at < ?",
                    )
                    .bind::<Binary, _>(from)
                    .bind::<Binary, _>(through.unwrap_or(Bytes16([u8::MAX; 16])))
                    .bind::<Datetime, _>(before)
                    .execute(conn)
                    .await?;
                    Ok((deleted, through))
                })
                .await?;
            all += deleted;
            self.walked = through.map_or([0; 16], |key| key.0);
            if through.is_none() {
                break;
            }
        }
        Ok(all)
    }
}

/// Raises the schema's watermark; tells where it is then, which may be higher.
///
/// # Errors
/// Those of the database.
pub(crate) async fn raise_watermark(db: &Db, to: SagaId) -> Result<SagaId> {
    db.tx(async move |conn: &mut Conn| -> Result<SagaId> {
        let row = saga_watermark::table.find(1).select(saga_watermark::watermark);
        let watermark: Bytes16 = row.for_update().get_result(conn).await?;
        if watermark.0 >= to.0 {
            return Ok(SagaId(watermark.0));
        }
        diesel::update(saga_watermark::table.find(1))
            .set(saga_watermark::watermark.eq(Bytes16(to.0)))
            .execute(conn)
            .await?;
        Ok(to)
    })
    .await
}

/// The watermark of a participant's schema.
///
/// # Errors
/// Those of the database.
pub async fn watermark_of(db: &Db) -> Result<SagaId> {
    db.read(async |conn: &mut Conn| crate::store::watermark(conn).await).await
}

/// The newest saga at or below the watermark of which there still is a barrier row: the watermark may not be put below it.
///
/// # Errors
/// Those of the database.
pub async fn newest_purgeable(db: &Db) -> Result<Option<SagaId>> {
    db.read(async |conn: &mut Conn| -> Result<Option<SagaId>> {
        let watermark = Bytes16(crate::store::watermark(conn).await?.0);
        let newest: Option<Bytes16> = saga_op::table
            .filter(saga_op::saga_id.le(watermark))
            .order((saga_op::saga_id.desc(), saga_op::step.desc()))
            .select(saga_op::saga_id)
            .first(conn)
            .await
            .optional()?;
        Ok(newest.map(|newest| SagaId(newest.0)))
    })
    .await
}

/// Lowers the watermark of a participant's schema, for an operator, while no orchestrator runs. One that is lower stays.
///
/// # Errors
/// Those of the database.
pub async fn lower_watermark(db: &Db, to: SagaId) -> Result<()> {
    db.tx(async move |conn: &mut Conn| -> Result<()> {
        diesel::update(saga_watermark::table.filter(saga_watermark::watermark.gt(Bytes16(to.0))))
            .set(saga_watermark::watermark.eq(Bytes16(to.0)))
            .execute(conn)
            .await?;
        Ok(())
    })
    .await
}
