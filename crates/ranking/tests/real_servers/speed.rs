//! What a read of the best sellers costs: counted in SQL for each call, read from Redis for each call, and from the
//! copy that the service shares among its readers.

use crate::support::{Catalogue, TOKEN, client, locks};
use chrono::{DateTime, TimeDelta, Utc};
use db::{Conn, Db};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use events::{RedisStreams, Shard};
use migrations::Schema;
use ranking::domain::{Change, Kind, Window, best};
use ranking::store::{Portion, Target};
use ranking::{CONSUMER, COPY_LIFE, Rebuild, Service, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Request;

use api::ranking::v1::ListTopProductsRequest;
use api::ranking::v1::ranking_service_server::RankingService;

/// Orders, evenly over the last 70 hours.
const ORDERS: i64 = 100_000;
const SPAN_S: i64 = 70 * 3_600;
/// Readers at once: as many as the pool has connections.
const READERS: usize = 8;
/// How long each way is measured.
const EACH: Duration = Duration::from_secs(5);

#[derive(Debug, QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = BigInt)]
    orders: i64,
}

/// Three products an order: of ten thousand, of a thousand, and of a hundred.
fn products(order: i64) -> Vec<i64> {
    let mut products = vec![1 + order % 10_000, 1 + order * 7 % 1_000, 1 + order * 13 % 97];
    products.sort_unstable();
    products.dedup();
    products
}

fn placed_at(base: DateTime<Utc>, order: i64) -> DateTime<Utc> {
    base - TimeDelta::seconds(1 + order % SPAN_S)
}

async fn fill(db: &Db, store: &Store, base: DateTime<Utc>) {
    let generation = store.create(TOKEN).await.unwrap();
    store.serve(&generation, TOKEN).await.unwrap();
    let all: Vec<i64> = (1..=ORDERS).collect();
    for orders in all.chunks(500) {
        let row = |order: &i64| {
            let at = placed_at(base, *order).format("%F %T%.6f");
            format!("({order},1,1,UNHEX(LPAD(HEX({order}),32,'0')),1,0,1,1,'{at}')")
        };
        let rows: Vec<String> = orders.iter().map(row).collect();
        let lines = orders.iter().flat_map(|order| {
            products(*order).into_iter().map(move |product| format!("({order},{product},1,1,1)"))
        });
        let statements = [
            format!(
                "INSERT INTO orders (id, user_id, state, saga_id, total, discount, paid, version, \
                 placed_at) VALUES {}",
                rows.join(",")
            ),
            format!(
                "INSERT INTO order_line (order_id, product_id, line, quantity, unit_price) VALUES {}",
                lines.collect::<Vec<_>>().join(",")
            ),
        ];
        let run = async move |conn: &mut Conn| -> db::Result<()> {
            for sql in &statements {
                sql_query(sql.clone()).execute(conn).await?;
            }
            Ok(())
        };
        db.tx(run).await.unwrap();
        let change = |order: &i64| Change {
            position: *order,
            kind: Kind::Confirmed,
            order_id: *order,
            placed_at: placed_at(base, *order),
            products: products(*order),
        };
        let changes: Vec<Change> = orders.iter().map(change).collect();
        let (shard, after) = (Shard::new(0).unwrap(), orders[0] - 1);
        let through = changes.last().unwrap().position;
        let portion = Portion { shard, after, through, changes };
        store.apply(Target::Served, &[portion]).await.unwrap();
    }
}

async fn recount(db: &Db, window: Window) -> Vec<(i64, i64)> {
    let [start, end] = [window.start, window.as_of].map(|at| at.format("%F %T%.6f").to_string());
    let sql = format!(
        "SELECT l.product_id, COUNT(*) AS orders FROM orders o JOIN order_line l ON l.order_id = o.id \
         WHERE o.placed_at >= '{start}' AND o.placed_at < '{end}' AND o.state < 3 \
         GROUP BY l.product_id ORDER BY orders DESC, MAX(o.placed_at) DESC, l.product_id LIMIT 5"
    );
    let read = async move |conn: &mut Conn| -> db::Result<Vec<Row>> {
        Ok(sql_query(sql.clone()).load(conn).await?)
    };
    let rows = db.read(read).await.unwrap();
    rows.iter().map(|row| (row.product_id, row.orders)).collect()
}

/// Reads at once for a while, and tells how long they took.
async fn measure<F>(what: &str, read: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let since = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let read = read.clone();
        readers.spawn(async move {
            let mut took = Vec::new();
            while since.elapsed() < EACH {
                let began = Instant::now();
                read().await;
                took.push(began.elapsed());
            }
            took
        });
    }
    let mut took: Vec<Duration> = readers.join_all().await.into_iter().flatten().collect();
    let seconds = since.elapsed().as_secs_f64();
    took.sort_unstable();
    let at =
        |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
    let rate = f64::from(u32::try_from(took.len()).unwrap()) / seconds;
    println!("{what:<32} {:>10.4} {:>10.4} {rate:>12.0}", at(50), at(95));
}

/// `cargo test --release -p ranking --test real_servers -- --ignored --nocapture speed`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for a quarter of a minute, and prints a table"]
async fn speed_of_reads_from_sql_from_redis_and_from_the_copy() {
    let (redis, (db, _)) = (crate::support::redis().await, testkit::database(Schema::Order).await);
    let store = Store::new(client(&redis), "test").unwrap();
    fill(&db, &store, Utc::now()).await;

    let snapshot = store.top(5).await.unwrap();
    let window = snapshot.window;
    let counted = best(snapshot.entries, 5);
    let counted: Vec<(i64, i64)> = counted.iter().map(|it| (it.product_id, it.orders)).collect();
    assert_eq!(recount(&db, window).await, counted, "all ways tell the same");

    let bus = RedisStreams::new(client(&redis), "test", "order", &[CONSUMER]).unwrap();
    let rebuild = Rebuild::new(store.clone(), Arc::new(bus), locks(&redis));
    let catalogue = Arc::new(Catalogue::default());
    let service = Arc::new(Service::new(store.clone(), rebuild, catalogue, COPY_LIFE));

    println!("{ORDERS} orders, {READERS} readers, {EACH:?} each");
    println!("{:<32} {:>10} {:>10} {:>12}", "best five", "p50 ms", "p95 ms", "reads/s");
    measure("counted in SQL for each read", move || {
        let db = db.clone();
        async move {
            recount(&db, window).await;
        }
    })
    .await;
    measure("read from Redis for each read", move || {
        let store = store.clone();
        async move {
            best(store.top(5).await.unwrap().entries, 5);
        }
    })
    .await;
    measure("from the copy of 200 ms", move || {
        let service = service.clone();
        async move {
            let request = Request::new(ListTopProductsRequest { limit: 5 });
            service.list_top_products(request).await.unwrap();
        }
    })
    .await;
}
