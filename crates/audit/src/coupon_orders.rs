//! Coupons against the orders that use them: two schemas that no saga's end binds to an instant.
//!
//! Between the two snapshots a coupon may be redeemed or restored. So what does not fit is read again, the journal
//! first: with no saga of that order under way, everything that such a saga did is there to be seen. What does not fit
//! in any of a few readings is an offence.

use crate::findings::Findings;
use crate::invariant::COUPON_ORDERS;
use crate::sagas::Snapshots;
use crate::schemas::coupon::{FORFEITED, USED};
use crate::schemas::journal::RESOLVED;
use crate::snapshot::Snapshot;
use anyhow::Result;
use db::CHUNK;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use futures_util::TryStreamExt;
use participant::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Readings of what did not fit at first.
const READINGS: usize = 4;
/// Time between them.
const PAUSE: Duration = Duration::from_millis(100);

const CONFIRMED: i64 = 1;
const CANCELLING: i64 = 2;
const CANCELLED: i64 = 3;

#[derive(Debug, QueryableByName)]
struct Used {
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    coupon_id: i64,
    #[diesel(sql_type = BigInt)]
    user_id: i64,
    #[diesel(sql_type = BigInt)]
    state: i64,
}

#[derive(Debug, QueryableByName)]
struct Order {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    user_id: i64,
    #[diesel(sql_type = BigInt)]
    state: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    coupon_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    issued_coupon_id: Option<i64>,
}

#[derive(QueryableByName)]
struct Object {
    #[diesel(sql_type = Text)]
    object: Name,
}

const USED_BY: &str = "SELECT order_id, id, coupon_id, user_id, state FROM issued_coupon \
    WHERE order_id IS NOT NULL";
const ORDERS: &str = "SELECT id, user_id, state, coupon_id, issued_coupon_id FROM orders \
    WHERE issued_coupon_id IS NOT NULL";

/// Checks every coupon that names an order and every order that names a coupon.
pub(crate) async fn check(of: &mut Snapshots, findings: &mut Findings) -> Result<()> {
    let suspects = compare(of, findings).await?;
    let suspects: Vec<i64> = suspects.into_iter().collect();
    for orders in suspects.chunks(CHUNK) {
        let mut orders = orders.to_vec();
        for _ in 0..READINGS {
            if orders.is_empty() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            orders = unfit(of, &orders).await?;
        }
        for order in orders {
            findings.offend(&COUPON_ORDERS, format!("order {order}"));
        }
    }
    Ok(())
}

/// Orders that do not fit in the snapshots.
async fn compare(of: &mut Snapshots, findings: &mut Findings) -> Result<BTreeSet<i64>> {
    let mut suspects = BTreeSet::new();
    let mut coupons = of.coupon.rows::<Used>(format!("{USED_BY} ORDER BY order_id, id")).await?;
    let mut orders = of.order.rows::<Order>(format!("{ORDERS} ORDER BY id")).await?;
    let (mut next_use, mut next_order) = (coupons.try_next().await?, orders.try_next().await?);
    loop {
        let heads = [next_use.as_ref().map(|it| it.order_id), next_order.as_ref().map(|it| it.id)];
        let Some(id) = heads.into_iter().flatten().min() else { return Ok(suspects) };
        let mut uses = Vec::new();
        while let Some(one) = next_use.take_if(|one| one.order_id == id) {
            uses.push(one);
            next_use = coupons.try_next().await?;
        }
        let order = next_order.take_if(|order| order.id == id);
        if order.is_some() {
            next_order = orders.try_next().await?;
        }
        findings.row(&COUPON_ORDERS);
        if !fits(&uses, order.as_ref()) {
            suspects.insert(id);
        }
    }
}

/// Those of these orders that do not fit now either, and of which no saga is under way. One that a person has settled
/// may have left anything: its record explains it.
async fn unfit(of: &mut Snapshots, ids: &[i64]) -> Result<Vec<i64>> {
    let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let Snapshots { journal, coupon, order, .. } = of;
    // The journal keeps ids as names: compared with numbers they would be neither exact nor found by their index.
    let names = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let sql = format!(
        "SELECT object FROM saga WHERE object IN ({names}) \
        UNION SELECT object FROM saga_history WHERE object IN ({names}) AND outcome = {RESOLVED}"
    );
    let exempt: Vec<Object> = fresh(journal, sql).await?;
    let exempt: BTreeSet<i64> = exempt.iter().filter_map(|row| row.object.number()).collect();
    let mut uses: BTreeMap<i64, Vec<Used>> = BTreeMap::new();
    for row in fresh::<Used>(coupon, format!("{USED_BY} AND order_id IN ({list})")).await? {
        uses.entry(row.order_id).or_default().push(row);
    }
    let orders: Vec<Order> = fresh(order, format!("{ORDERS} AND id IN ({list})")).await?;
    let orders: BTreeMap<i64, Order> = orders.into_iter().map(|row| (row.id, row)).collect();
    let unfit = |id: &&i64| {
        let uses = uses.get(id).map(Vec::as_slice).unwrap_or_default();
        !exempt.contains(id) && !fits(uses, orders.get(id))
    };
    Ok(ids.iter().filter(unfit).copied().collect())
}

/// Reads in a new snapshot of the same schema.
async fn fresh<R>(snapshot: &mut Snapshot, sql: String) -> Result<Vec<R>>
where
    R: QueryableByName<diesel::mysql::Mysql> + Send + 'static,
{
    snapshot.renew().await?;
    snapshot.all(sql).await
}

fn fits(uses: &[Used], order: Option<&Order>) -> bool {
    match (uses, order) {
        ([], None) => true,
        ([], Some(order)) => matches!(order.state, CANCELLING | CANCELLED),
        ([coupon], Some(order)) => {
            let named = order.issued_coupon_id == Some(coupon.id)
                && order.coupon_id == Some(coupon.coupon_id)
                && order.user_id == coupon.user_id;
            let stands = match coupon.state {
                USED => matches!(order.state, CONFIRMED | CANCELLING),
                FORFEITED => matches!(order.state, CANCELLING | CANCELLED),
                _ => false,
            };
            named && stands
        }
        _ => false,
    }
}
