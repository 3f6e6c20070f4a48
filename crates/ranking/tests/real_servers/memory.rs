//! How much of Redis the counts take at most, and how long a script holds it up.

use crate::support::{Hand, TOKEN, client, start, store};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use embedded::{Redis, RedisOptions};
use events::Shard;
use ranking::Store;
use ranking::domain::{Change, Kind};
use ranking::store::{Portion, Target};
use redis::Value;
use redis::aio::MultiplexedConnection;

/// Products of one order.
const LINES: i64 = 100;
/// Orders of one batch.
const BATCH: usize = 32;
const HOURS: i64 = 72;
const GIB: f64 = 1_073_741_824.0;
/// What the counts of 100,000 products may take, in GiB.
const MOST: f64 = 1.5;

/// Counts that are filled to the brim.
struct Full {
    hand: Hand,
    store: Store,
    connection: MultiplexedConnection,
    changes: Vec<Change>,
    position: i64,
    _redis: Redis,
}

impl Full {
    async fn new() -> Self {
        let mut options = RedisOptions::temporary();
        options.durable = false;
        let log = ["--slowlog-log-slower-than", "500", "--slowlog-max-len", "1000000"];
        options.arguments = log.map(str::to_owned).to_vec();
        let redis = Redis::start(options).await.unwrap();
        let hand = Hand::new();
        let store = store(&redis, &hand);
        let generation = store.create(TOKEN).await.unwrap();
        store.serve(&generation, TOKEN).await.unwrap();
        let connection = client(&redis).get_multiplexed_async_connection().await.unwrap();
        Self { hand, store, connection, changes: Vec::new(), position: 0, _redis: redis }
    }

    /// Every product of the first so many is ordered once.
    async fn order_each(&mut self, products: i64, placed_at: impl Fn(i64) -> DateTime<Utc>) {
        for order in 0..products / LINES {
            self.position += 1;
            let products = (order * LINES + 1..=(order + 1) * LINES).collect();
            let (position, kind) = (self.position, Kind::Confirmed);
            let placed_at = placed_at(order);
            self.changes.push(Change { position, kind, order_id: position, placed_at, products });
            if self.changes.len() == BATCH {
                self.flush().await;
            }
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        let Some(first) = self.changes.first() else { return };
        let (shard, after) = (Shard::new(0).unwrap(), first.position - 1);
        let changes = std::mem::take(&mut self.changes);
        let portion = Portion { shard, after, through: self.position, changes };
        self.store.apply(Target::Served, &[portion]).await.unwrap();
    }

    async fn used_memory(&mut self) -> f64 {
        let mut info = redis::cmd("INFO");
        let text: String = info.arg("memory").query_async(&mut self.connection).await.unwrap();
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.unwrap().trim().parse::<f64>().unwrap() / GIB
    }

    /// How many scripts took over half a millisecond since the last look, and how long the longest took, in milliseconds.
    async fn slow(&mut self) -> (usize, f64) {
        let mut get = redis::cmd("SLOWLOG");
        let entries: Vec<Vec<Value>> =
            get.arg("GET").arg(-1).query_async(&mut self.connection).await.unwrap();
        let took = entries.iter().map(|entry| match entry[2] {
            Value::Int(micros) => u32::try_from(micros).unwrap(),
            ref other => panic!("{other:?}"),
        });
        let longest = took.max().unwrap_or_default();
        let mut reset = redis::cmd("SLOWLOG");
        let () = reset.arg("RESET").query_async(&mut self.connection).await.unwrap();
        (entries.len(), f64::from(longest) / 1_000.0)
    }

    async fn tell(&mut self, what: &str) {
        let (count, longest) = self.slow().await;
        println!("{what}: longest script {longest:.1} ms, {count} over 0.5 ms");
    }
}

fn this_hour() -> DateTime<Utc> {
    start().duration_trunc(TimeDelta::hours(1)).unwrap()
}

/// `cargo test --release -p ranking --test real_servers -- --ignored --nocapture memory`
#[tokio::test]
#[ignore = "takes minutes: counts millions of orders, and prints what that takes"]
async fn memory_of_a_hundred_thousand_products_ordered_in_every_hour_is_bounded() {
    const PRODUCTS: i64 = 100_000;
    let mut full = Full::new().await;
    for hour in 0..HOURS {
        let begin = this_hour() - TimeDelta::hours(HOURS - hour);
        full.order_each(PRODUCTS, |order| begin + TimeDelta::minutes(order * 7 % 60)).await;
    }
    full.tell("counting 32 orders of 100 products at once").await;
    let used = full.used_memory().await;
    println!("used_memory {used:.3} GiB: {PRODUCTS} products once in each of {HOURS} hours");
    assert!(used <= MOST, "{used} GiB");
    full.store.top(100).await.unwrap();
    full.tell("the best 100, all of them tied").await;
    let began = std::time::Instant::now();
    full.store.snapshot().await.unwrap();
    println!("the audit's snapshot of all products took {:.0?}", began.elapsed());
    full.tell("the audit's snapshot").await;
    full.hand.set(this_hour() + TimeDelta::minutes(59));
    full.store.top(100).await.unwrap();
    full.tell("29 minutes leave, 59/60 of an hour").await;
    full.hand.advance(TimeDelta::minutes(1));
    full.store.top(100).await.unwrap();
    full.tell("a minute and with it an hour leaves").await;
    full.hand.advance(TimeDelta::hours(HOURS + 1));
    assert_eq!(full.store.top(100).await.unwrap().entries, []);
    full.tell("all hours leave").await;
}

#[tokio::test]
#[ignore = "takes minutes: counts millions of orders, and prints what that takes"]
async fn memory_does_not_grow_with_the_orders_when_every_product_is_ordered_in_every_minute() {
    // A fiftieth of 100,000.
    const PRODUCTS: i64 = 2_000;
    const SHARE: f64 = 50.0;
    let mut full = Full::new().await;
    let before = full.used_memory().await;
    for minute in 0..HOURS * 60 {
        let placed_at = this_hour() - TimeDelta::minutes(HOURS * 60 - minute);
        full.order_each(PRODUCTS, |_| placed_at).await;
    }
    full.tell("counting 20 orders of 100 products at once").await;
    let used = full.used_memory().await;
    println!(
        "used_memory {used:.3} GiB: {PRODUCTS} products once in every minute of {HOURS} hours"
    );
    let all = (used - before) * SHARE;
    println!("which is {all:.2} GiB for 100,000 products");
    assert!(all <= MOST, "{all} GiB for 100,000");
    full.hand.set(this_hour() + TimeDelta::minutes(1));
    full.store.top(100).await.unwrap();
    full.tell("a minute of 2,000 products leaves").await;
}
