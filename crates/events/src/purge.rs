//! Deleting events that everybody has had for long.
//!
//! A row goes when it is older than the retention, the bus has it, and every consumer has acknowledged it: until then the
//! outbox is what a bus that lost its data is refilled from. Rows go from the front of their shard, a thousand a
//! transaction, so that what is left has no gaps. The numbers go on: they stand in the shard's row. Replicas take turns to
//! save work, not because two at once would do harm.

use crate::Shard;
use crate::bus::{self, Bus, StreamState};
use chrono::NaiveDateTime;
use db::{Conn, Db, Result};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Datetime, TinyInt};
use diesel_async::RunQueryDsl;
use lock::Turn;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Rows of one transaction.
const BATCH: i64 = 1_000;

/// Deletes a schema's events. Cheap to clone.
#[derive(Clone)]
pub struct Purge {
    db: Db,
    bus: Arc<dyn Bus>,
    retention: Duration,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The bus, which has to tell what it holds.
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = Datetime)]
    occurred_at: NaiveDateTime,
}

impl Purge {
    /// Of the outbox of `db`, whose events go to `bus`.
    pub fn new(db: Db, bus: Arc<dyn Bus>, retention: Duration) -> Self {
        Self { db, bus, retention }
    }

    /// Deletes every `interval`, when it is this replica's `turn`, until cancelled.
    pub async fn run(self, interval: Duration, turn: Turn, cancel: CancellationToken) {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                due.tick().await;
                match turn.run(self.round()).await {
                    None | Some(Ok(0)) => {}
                    Some(Ok(events)) => {
                        tracing::debug!(events, "deleted events that everybody has had");
                    }
                    Some(Err(error)) => tracing::warn!(%error, "old events were not deleted"),
                }
            }
        };
        Box::pin(cancel.run_until_cancelled(rounds)).await;
    }

    /// Deletes all that may go. Tells how many: none while the clocks are not trusted.
    ///
    /// # Errors
    /// [`Error`]; what was deleted stays deleted.
    pub async fn round(&self) -> Result<usize, Error> {
        let Some(before) = self.db.clock().cutoff(self.retention).await? else { return Ok(0) };
        let (state, before) = (self.bus.state().await?, db::to_db(before));
        let mut all = 0;
        for (shard, stream) in state.shards.iter() {
            all += self.shard(shard, had_by_all(stream), before).await?;
        }
        Ok(all)
    }

    async fn shard(&self, shard: Shard, through: i64, before: NaiveDateTime) -> Result<usize> {
        let mut all = 0;
        loop {
            let deleted = self
                .db
                .tx(async move |conn: &mut Conn| -> Result<usize> {
                    let old = oldest(conn, shard, through, before).await?;
                    let Some(last) = old.last() else { return Ok(0) };
                    let sql = "DELETE FROM outbox WHERE shard = ? AND position <= ?";
                    let deleted = diesel::sql_query(sql)
                        .bind::<TinyInt, _>(shard.column())
                        .bind::<BigInt, _>(last.position);
                    Ok(deleted.execute(conn).await?)
                })
                .await?;
            all += deleted;
            if i64::try_from(deleted).is_ok_and(|deleted| deleted < BATCH) {
                return Ok(all);
            }
        }
    }
}

/// The first rows of a shard up to a position, as far as they are old.
async fn oldest(
    conn: &mut Conn,
    shard: Shard,
    through: i64,
    before: NaiveDateTime,
) -> Result<Vec<Row>> {
    let sql = "SELECT position, occurred_at FROM outbox \
        WHERE shard = ? AND position <= ? ORDER BY position LIMIT ?";
    let rows: Vec<Row> = diesel::sql_query(sql)
        .bind::<TinyInt, _>(shard.column())
        .bind::<BigInt, _>(through)
        .bind::<BigInt, _>(BATCH)
        .load(conn)
        .await?;
    Ok(rows.into_iter().take_while(|row| row.occurred_at < before).collect())
}

/// The position up to which the bus and every consumer have a shard's events.
fn had_by_all(stream: &StreamState) -> i64 {
    stream.acknowledged.map_or(stream.top, |done| done.min(stream.top))
}
