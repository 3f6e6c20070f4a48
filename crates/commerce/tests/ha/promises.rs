//! What customers may rely on, looked for on the server that took over.

use crate::cluster::Cluster;
use crate::customers::Told;
use crate::shop::Shop;
use db::Conn;
use diesel::sql_types::{BigInt, Binary};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl};
use migrations::Schema;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long sagas may take to end.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(100);

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Order {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    state: i64,
    #[diesel(sql_type = Binary)]
    saga_id: Vec<u8>,
}

/// The state of an order that stands, and of one that is cancelled.
const CONFIRMED: i64 = 1;
const CANCELLED: i64 = 3;

/// Waits until everything ended, and sees that there is what was told and nothing else.
pub(crate) async fn kept(cluster: &Cluster, node: usize, shop: &Shop, told: &Told) {
    ended(cluster, node, shop).await;
    let orders = orders(cluster, node).await;
    let found: BTreeMap<i64, i64> = orders.iter().map(|order| (order.id, order.state)).collect();
    let state = |is_cancelled: bool| if is_cancelled { CANCELLED } else { CONFIRMED };
    let expected: BTreeMap<i64, i64> =
        told.orders.iter().map(|(id, is_cancelled)| (*id, state(*is_cancelled))).collect();
    assert_eq!(found, expected, "the orders that there are, and those that were told");
    let sagas: BTreeSet<Uuid> =
        orders.iter().map(|order| Uuid::from_slice(&order.saga_id).unwrap()).collect();
    let failed = told.failed.iter().map(|id| Uuid::parse_str(id).unwrap());
    let denied: Vec<_> = failed.filter(|id| sagas.contains(id)).collect();
    assert!(denied.is_empty(), "told to have failed, and there: {denied:?}");
    let report = audit::run(&targets(cluster, node, shop)).await.unwrap();
    assert!(report.is_clean(), "{report}");
    println!("{} orders, {} failed; all promises kept", told.orders.len(), told.failed.len());
}

async fn ended(cluster: &Cluster, node: usize, shop: &Shop) {
    let give_up = Instant::now() + PATIENCE;
    let mut conn = Conn::establish(&cluster.url_of(node, Schema::Orchestrator)).await.unwrap();
    loop {
        let running = sql_query("SELECT COUNT(*) AS count FROM saga");
        let Count { count } = running.get_result(&mut conn).await.unwrap();
        if count == 0 {
            return;
        }
        assert!(Instant::now() < give_up, "{count} sagas have not ended\n{}", shop.logs());
        sleep(LOOK).await;
    }
}

async fn orders(cluster: &Cluster, node: usize) -> Vec<Order> {
    let mut conn = Conn::establish(&cluster.url_of(node, Schema::Order)).await.unwrap();
    let all = "SELECT id, CAST(state AS SIGNED) AS state, saga_id FROM orders";
    sql_query(all).load(&mut conn).await.unwrap()
}

fn targets(cluster: &Cluster, node: usize, shop: &Shop) -> audit::Targets {
    let url = |schema| cluster.url_of(node, schema);
    let redis = shop.redis();
    audit::Targets {
        wallet: url(Schema::Wallet),
        product: url(Schema::Product),
        coupon: url(Schema::Coupon),
        order: url(Schema::Order),
        orchestrator: url(Schema::Orchestrator),
        activity: Some(url(Schema::Activity)),
        streams: Some(redis.streams().unwrap()),
        ranking: Some(redis),
        relayed_within: None,
    }
}
