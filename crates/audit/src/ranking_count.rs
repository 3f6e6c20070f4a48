//! The ranking against a recount.
//!
//! The counts tell up to which events they were made, so they can be compared at any moment: with those orders of the
//! window whose events the counts have seen.

use crate::batches::{self, BATCH};
use crate::findings::Findings;
use crate::invariant::RANKING_COUNT;
use crate::snapshot::Snapshot;
use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Text};
use events::message::type_of;
use ranking::Store;
use ranking::store::{Error, Snapshot as Counts};
use std::collections::{BTreeMap, BTreeSet};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = BigInt)]
    orders: i64,
}

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = BigInt)]
    aggregate_id: i64,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

/// Checks the counts that are served; none are, while they are being built for the first time.
pub(crate) async fn check(
    store: &Store,
    order: &mut Snapshot,
    findings: &mut Findings,
) -> Result<()> {
    let counts = match store.snapshot().await {
        Ok(counts) => counts,
        Err(Error::Missing) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // After the counts, so that all that they have seen is there.
    order.renew().await?;
    let mut counted: BTreeMap<i64, i64> =
        counts.entries.iter().map(|entry| (entry.product_id, entry.orders)).collect();
    let unseen = Unseen::by(&counts, order).await?;
    for row in order.all::<Row>(recount(&counts, &unseen)).await? {
        let holds = counted.remove(&row.product_id) == Some(row.orders);
        findings.check(&RANKING_COUNT, holds, format!("product {}", row.product_id));
    }
    for product in counted.keys() {
        findings.check(&RANKING_COUNT, false, format!("product {product}"));
    }
    Ok(())
}

/// Orders that came or went without the counts having seen it yet.
#[derive(Default)]
struct Unseen {
    confirmed: BTreeSet<i64>,
    cancelled: BTreeSet<i64>,
}

impl Unseen {
    async fn by(counts: &Counts, order: &mut Snapshot) -> Result<Self> {
        let above: Vec<String> = counts
            .positions
            .iter()
            .map(|(shard, position)| {
                format!("(shard = {shard} AND (position IS NULL OR position > {position}))")
            })
            .collect();
        let sql = format!(
            "SELECT event_type, aggregate_id, payload FROM outbox WHERE {}",
            above.join(" OR ")
        );
        let mut unseen = Self::default();
        let each = |row: EventRow| {
            if row.event_type == BATCH {
                for event in batches::inner(&row.payload) {
                    unseen.add(type_of(&event), event.aggregate_id);
                }
            } else {
                unseen.add(&row.event_type, row.aggregate_id);
            }
        };
        order.each(sql, each).await?;
        Ok(unseen)
    }

    fn add(&mut self, event_type: &str, order_id: i64) {
        match event_type {
            "commerce.order.v1.OrderConfirmed" => self.confirmed.insert(order_id),
            "commerce.order.v1.OrderCancelled" => self.cancelled.insert(order_id),
            _ => false,
        };
    }
}

/// Orders by product in the counts' window, less what the counts have not seen yet.
fn recount(counts: &Counts, unseen: &Unseen) -> String {
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("'%Y-%m-%d %H:%M:%S%.6f'").to_string();
    format!(
        "SELECT l.product_id, COUNT(*) AS orders \
        FROM orders o JOIN order_line l ON l.order_id = o.id \
        WHERE o.placed_at >= {} AND o.placed_at < {} AND o.id NOT IN ({}) \
        AND (o.state < 3 OR o.id IN ({})) \
        GROUP BY l.product_id",
        time(counts.window.start),
        time(counts.window.as_of),
        list(&unseen.confirmed),
        list(&unseen.cancelled),
    )
}

/// The ids, and 0, which no order has, so that there is one.
fn list(ids: &BTreeSet<i64>) -> String {
    std::iter::once(&0).chain(ids).map(i64::to_string).collect::<Vec<_>>().join(",")
}
