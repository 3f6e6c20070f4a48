//! The ranking against a recount.
//!
//! The counts tell up to which events they were made, so they can be compared at any moment: with those orders of the
//! window whose events the counts have seen.

use crate::findings::Findings;
use crate::invariant::RANKING_COUNT;
use crate::snapshot::Snapshot;
use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use ranking::Store;
use ranking::store::{Error, Snapshot as Counts};
use std::collections::BTreeMap;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = BigInt)]
    orders: i64,
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
    for row in order.all::<Row>(recount(&counts)).await? {
        let holds = counted.remove(&row.product_id) == Some(row.orders);
        findings.check(&RANKING_COUNT, holds, format!("product {}", row.product_id));
    }
    for product in counted.keys() {
        findings.check(&RANKING_COUNT, false, format!("product {product}"));
    }
    Ok(())
}

/// Orders by product in the counts' window, less what the counts have not seen yet.
fn recount(counts: &Counts) -> String {
    let above: Vec<String> = counts
        .positions
        .iter()
        .map(|(shard, position)| {
            format!("(shard = {shard} AND (position IS NULL OR position > {position}))")
        })
        .collect();
    let above = above.join(" OR ");
    let unseen = |event: &str| {
        format!("(SELECT aggregate_id FROM outbox WHERE event_type = '{event}' AND ({above}))")
    };
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("'%Y-%m-%d %H:%M:%S%.6f'").to_string();
    format!(
        "SELECT l.product_id, COUNT(*) AS orders \
        FROM orders o JOIN order_line l ON l.order_id = o.id \
        WHERE o.placed_at >= {} AND o.placed_at < {} AND o.id NOT IN {} \
        AND (o.state < 3 OR o.id IN {}) \
        GROUP BY l.product_id",
        time(counts.window.start),
        time(counts.window.as_of),
        unseen("OrderConfirmed"),
        unseen("OrderCancelled"),
    )
}
