//! What counts, and when: changes by hand, time by hand.

use crate::support::{Hand, TOKEN, client, ranking, redis, start, store};
use chrono::{DateTime, TimeDelta, Utc};
use embedded::{Redis, RedisOptions};
use events::Shard;
use lock::Token;
use ranking::Store;
use ranking::domain::{Change, Kind, best};
use ranking::store::{Error, Portion, Target};
use std::collections::BTreeMap;

fn change(kind: Kind, position: i64, placed_at: DateTime<Utc>, products: &[i64]) -> Change {
    Change { position, kind, order_id: position, placed_at, products: products.to_vec() }
}

/// Counts that are fed through shard 0, one change after the other.
struct Fed {
    redis: Redis,
    hand: Hand,
    store: Store,
    position: i64,
}

impl Fed {
    async fn new() -> Self {
        let (redis, hand) = (redis().await, Hand::new());
        let store = store(&redis, &hand);
        let generation = store.create(TOKEN).await.unwrap();
        store.serve(&generation, TOKEN).await.unwrap();
        Self { redis, hand, store, position: 0 }
    }

    async fn apply(&mut self, mut change: Change) {
        change.position = self.position + 1;
        let shard = Shard::new(0).unwrap();
        let (after, through) = (self.position, change.position);
        let portion = Portion { shard, after, through, changes: vec![change] };
        self.store.apply(Target::Served, &[portion]).await.unwrap();
        self.position = through;
    }

    /// An order, numbered by its position.
    async fn order(&mut self, placed_at: DateTime<Utc>, products: &[i64]) -> i64 {
        self.apply(change(Kind::Confirmed, self.position + 1, placed_at, products)).await;
        self.position
    }

    async fn cancel(&mut self, order: i64, placed_at: DateTime<Utc>, products: &[i64]) {
        self.apply(change(Kind::Cancelled, order, placed_at, products)).await;
    }

    async fn ranking(&self) -> Vec<(i64, i64)> {
        ranking(&self.store).await
    }

    /// The hours whose buckets are kept, since 1970, and whether they fade.
    async fn buckets(&self) -> BTreeMap<i64, bool> {
        let mut connection = client(&self.redis).get_multiplexed_async_connection().await.unwrap();
        let mut ask = redis::cmd("KEYS");
        let keys: Vec<String> = ask.arg("test:*").query_async(&mut connection).await.unwrap();
        let mut buckets = BTreeMap::new();
        for key in keys {
            let mut parts = key.rsplit(':');
            let (block, hour) = (parts.next().unwrap(), parts.next().unwrap());
            let (Ok(_), Ok(hour)) = (block.parse::<i64>(), hour.parse()) else { continue };
            let mut ask = redis::cmd("TTL");
            let ttl: i64 = ask.arg(&key).query_async(&mut connection).await.unwrap();
            buckets.insert(hour, ttl > 0);
        }
        buckets
    }
}

fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

const HOURS_72: TimeDelta = TimeDelta::hours(72);

#[tokio::test]
async fn products_ordered_4_3_2_2_2_1_1_times_stand_in_that_order_with_ties_by_the_latest() {
    let mut fed = Fed::new().await;
    let mut at = start() - TimeDelta::hours(1);
    for (product, orders) in [(1, 4), (2, 3), (3, 2), (4, 2), (5, 2), (6, 1), (7, 1)] {
        for _ in 0..orders {
            at += seconds(1);
            fed.order(at, &[product]).await;
        }
    }
    let all = [(1, 4), (2, 3), (5, 2), (4, 2), (3, 2), (7, 1), (6, 1)];
    assert_eq!(fed.ranking().await, all);
    // The list is cut within a tie: all of the tie is looked at.
    let top = best(fed.store.top(4).await.unwrap().entries, 4);
    let top: Vec<i64> = top.iter().map(|entry| entry.product_id).collect();
    assert_eq!(top, [1, 2, 5, 4]);
}

#[tokio::test]
async fn two_products_of_the_same_orders_stand_by_their_ids() {
    let mut fed = Fed::new().await;
    fed.order(start() - seconds(2), &[9, 4, 7]).await;
    assert_eq!(fed.ranking().await, [(4, 1), (7, 1), (9, 1)]);
}

#[tokio::test]
async fn a_cancelled_order_leaves_the_minute_where_it_was_counted_and_the_tie_to_the_one_before() {
    let mut fed = Fed::new().await;
    let hour_ago = start() - TimeDelta::hours(1);
    fed.order(hour_ago, &[1]).await;
    fed.order(hour_ago + seconds(10), &[2]).await;
    let late = start() - seconds(5);
    let cancelled = fed.order(late, &[1, 3]).await;
    fed.order(start() - seconds(3), &[2]).await;
    assert_eq!(fed.ranking().await, [(2, 2), (1, 2), (3, 1)]);
    fed.hand.advance(seconds(600));
    fed.cancel(cancelled, late, &[1, 3]).await;
    assert_eq!(fed.ranking().await, [(2, 2), (1, 1)]);
    let entries = fed.store.snapshot().await.unwrap().entries;
    let first = entries.iter().find(|entry| entry.product_id == 1).unwrap();
    assert_eq!(first.latest, hour_ago);
    // Nothing of it is left to be subtracted when its minute leaves.
    fed.hand.set(late + HOURS_72 + seconds(60));
    assert_eq!(fed.ranking().await, []);
}

#[tokio::test]
async fn an_order_counts_from_after_its_instant_until_its_minute_is_72_hours_old() {
    let mut fed = Fed::new().await;
    let (placed, micro) = (start(), TimeDelta::microseconds(1));
    fed.order(placed, &[1]).await;
    assert_eq!(fed.ranking().await, [], "the window ends before now");
    fed.hand.advance(micro);
    assert_eq!(fed.ranking().await, [(1, 1)]);
    let minute = "2025-07-24T10:30:00Z".parse::<DateTime<Utc>>().unwrap();
    fed.hand.set(minute + HOURS_72 + seconds(60) - micro);
    assert_eq!(fed.ranking().await, [(1, 1)]);
    let window = fed.store.snapshot().await.unwrap().window;
    assert_eq!((window.start, window.as_of), (minute, minute + HOURS_72 + seconds(60) - micro));
    fed.hand.advance(micro);
    assert_eq!(fed.ranking().await, []);
    assert_eq!(fed.store.snapshot().await.unwrap().window.start, minute + seconds(60));
}

#[tokio::test]
async fn the_finished_hour_stays_each_minute_leaves_once_and_the_hour_fades_when_all_of_it_left() {
    let mut fed = Fed::new().await;
    let hour = "2025-07-24T09:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let nine = hour.timestamp() / 3_600;
    for minute in [0, 58, 59, 60] {
        fed.order(hour + seconds(60 * minute), &[1, 10 + minute]).await;
    }
    fed.hand.advance(TimeDelta::hours(1));
    assert_eq!(fed.ranking().await, [(1, 4), (70, 1), (69, 1), (68, 1), (10, 1)]);
    assert_eq!(fed.buckets().await, BTreeMap::from([(nine, false), (nine + 1, false)]));
    fed.hand.set(hour + HOURS_72 + seconds(60));
    assert_eq!(fed.ranking().await, [(1, 3), (70, 1), (69, 1), (68, 1)]);
    assert_eq!(fed.ranking().await, [(1, 3), (70, 1), (69, 1), (68, 1)]);
    fed.hand.set(hour + HOURS_72 + seconds(3_600) - TimeDelta::microseconds(1));
    assert_eq!(fed.ranking().await, [(1, 2), (70, 1), (69, 1)]);
    assert_eq!(fed.buckets().await, BTreeMap::from([(nine, false), (nine + 1, false)]));
    fed.hand.advance(TimeDelta::microseconds(1));
    assert_eq!(fed.ranking().await, [(1, 1), (70, 1)]);
    // Only what was subtracted may fade.
    assert_eq!(fed.buckets().await, BTreeMap::from([(nine, true), (nine + 1, false)]));
    // After an absence longer than the window nothing is left.
    fed.hand.advance(TimeDelta::days(40));
    assert_eq!(fed.ranking().await, []);
    assert!(fed.buckets().await.values().all(|fades| *fades));
    let later = hour + TimeDelta::days(42);
    fed.order(later, &[1]).await;
    assert_eq!(fed.ranking().await, [(1, 1)]);
}

#[tokio::test]
async fn a_cancel_after_the_order_left_the_window_and_an_order_that_comes_too_late_change_nothing()
{
    let mut fed = Fed::new().await;
    let placed = start() - seconds(40);
    let order = fed.order(placed, &[1]).await;
    fed.order(start() - seconds(1), &[1]).await;
    fed.hand.set(placed + HOURS_72 + seconds(60));
    fed.cancel(order, placed, &[1]).await;
    assert_eq!(fed.ranking().await, [(1, 1)]);
    fed.order(placed, &[2]).await;
    assert_eq!(fed.ranking().await, [(1, 1)]);
    // Late, and still in the window: it leaves with its minute.
    fed.order(start(), &[2]).await;
    assert_eq!(fed.ranking().await, [(2, 1), (1, 1)]);
    fed.hand.advance(seconds(60));
    assert_eq!(fed.ranking().await, []);
}

#[tokio::test]
async fn a_clock_that_is_set_back_brings_nothing_back() {
    let mut fed = Fed::new().await;
    let placed = start() - HOURS_72 + seconds(60);
    let order = fed.order(placed, &[1]).await;
    fed.hand.advance(seconds(120));
    fed.order(placed, &[2]).await;
    fed.hand.set(start());
    fed.cancel(order, placed, &[1]).await;
    assert_eq!(fed.ranking().await, []);
}

#[tokio::test]
async fn a_minute_of_thousands_of_orders_and_an_hour_of_orders_in_every_minute_leave_whole() {
    let mut fed = Fed::new().await;
    let hour = "2025-07-24T08:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let mut expected = 0;
    for minute in 0..60 {
        // Around what a byte holds, and far above.
        let orders = [1, 255, 256, 3_000][minute % 4];
        let placed = hour + seconds(60 * i64::try_from(minute).unwrap());
        let changes: Vec<Change> = (1..=orders)
            .map(|n| change(Kind::Confirmed, fed.position + n, placed + seconds(n % 60), &[1, 2]))
            .collect();
        let (after, through) = (fed.position, fed.position + orders);
        let shard = Shard::new(0).unwrap();
        let portion = Portion { shard, after, through, changes };
        fed.store.apply(Target::Served, &[portion]).await.unwrap();
        fed.position = through;
        expected += orders;
    }
    fed.cancel(1, hour + seconds(1), &[2]).await;
    assert_eq!(fed.ranking().await, [(1, expected), (2, expected - 1)]);
    for minute in 0..60 {
        expected -= [1, 255, 256, 3_000][minute % 4];
        let minute = i64::try_from(minute).unwrap();
        fed.hand.set(hour + HOURS_72 + seconds(60 * (minute + 1)));
        let both = if expected == 0 { vec![] } else { vec![(1, expected), (2, expected)] };
        assert_eq!(fed.ranking().await, both, "after minute {minute}");
    }
}

#[tokio::test]
async fn a_product_whose_newest_orders_were_cancelled_stands_by_the_minute_of_those_left() {
    let mut fed = Fed::new().await;
    let hour_ago = start() - TimeDelta::hours(1);
    fed.order(hour_ago, &[1]).await;
    fed.order(hour_ago - seconds(60), &[2]).await;
    let mut later = Vec::new();
    for n in 0..40 {
        let placed = start() - seconds(50 - n);
        later.push((fed.order(placed, &[1]).await, placed));
    }
    for (order, placed) in later {
        fed.cancel(order, placed, &[1]).await;
    }
    assert_eq!(fed.ranking().await, [(1, 1), (2, 1)]);
}

#[tokio::test]
async fn of_a_thousand_products_with_as_many_orders_those_ordered_last_are_listed() {
    let mut fed = Fed::new().await;
    let hour_ago = start() - TimeDelta::hours(1);
    let products: Vec<i64> = (1..=1_000).collect();
    for (round, products) in (0..).zip(products.chunks(100)) {
        fed.order(hour_ago + seconds(round), products).await;
    }
    fed.order(hour_ago, &[77]).await;
    let top = async |limit| -> Vec<i64> {
        let entries = fed.store.top(limit).await.unwrap().entries;
        let count = entries.len();
        assert!(count <= 201, "{count} of 1,000 are told for {limit}");
        let limit = usize::try_from(limit).unwrap();
        best(entries, limit).iter().map(|entry| entry.product_id).collect()
    };
    assert_eq!(top(1).await, [77]);
    assert_eq!(top(4).await, [77, 901, 902, 903]);
    let two_rounds: Vec<i64> = [77].into_iter().chain(901..=1_000).chain(801..=830).collect();
    assert_eq!(top(131).await, two_rounds);
}

#[tokio::test]
async fn what_is_outside_the_window_changes_nothing() {
    let mut fed = Fed::new().await;
    let old = start() - HOURS_72 - seconds(31);
    let order = fed.order(old, &[1]).await;
    assert_eq!(fed.ranking().await, []);
    fed.order(start() - seconds(1), &[1]).await;
    fed.cancel(order, old, &[1]).await;
    assert_eq!(fed.ranking().await, [(1, 1)]);
    // Ahead of this server's clock, and cancelled before it gets there.
    let ahead = start() + seconds(90);
    let order = fed.order(ahead, &[1, 2]).await;
    fed.cancel(order, ahead, &[1, 2]).await;
    fed.order(ahead, &[3]).await;
    assert_eq!(fed.ranking().await, [(1, 1)]);
    fed.hand.advance(seconds(120));
    assert_eq!(fed.ranking().await, [(3, 1), (1, 1)]);
}

#[tokio::test]
async fn changes_that_come_again_count_once_and_a_gap_is_refused() {
    let fed = Fed::new().await;
    let shard = Shard::new(3).unwrap();
    let changes: Vec<Change> =
        (1..=4).map(|n| change(Kind::Confirmed, n, start() - seconds(n), &[1])).collect();
    let apply = async |after: i64, through: i64, changes: &[Change]| {
        let portion = Portion { shard, after, through, changes: changes.to_vec() };
        fed.store.apply(Target::Served, &[portion]).await
    };
    assert_eq!(apply(0, 2, &changes[..2]).await.unwrap(), 2);
    assert_eq!(apply(0, 2, &changes[..2]).await.unwrap(), 0);
    assert_eq!(apply(0, 3, &changes[..3]).await.unwrap(), 1);
    assert!(matches!(apply(4, 5, &[]).await, Err(Error::Moved)));
    assert_eq!(apply(3, 9, &changes[3..]).await.unwrap(), 1);
    assert_eq!(ranking(&fed.store).await, [(1, 4)]);
    let (_, positions) = fed.store.positions().await.unwrap();
    assert_eq!(positions[shard], 9);
}

#[tokio::test]
async fn portions_of_several_shards_count_together_or_not_at_all() {
    let fed = Fed::new().await;
    let [first, second] = [1, 2].map(|shard| Shard::new(shard).unwrap());
    let orders = |from: i64, products: &[i64]| -> Vec<Change> {
        let order = |n| change(Kind::Confirmed, n, start() - seconds(n), products);
        (from..from + 50).map(order).collect()
    };
    let mut ordered_and_cancelled = orders(1, &[1, 2]);
    ordered_and_cancelled
        .push(Change { position: 51, ..change(Kind::Cancelled, 1, start() - seconds(1), &[1, 2]) });
    let portion = |shard, after, through, changes| Portion { shard, after, through, changes };
    let both = [
        portion(first, 0, 51, ordered_and_cancelled),
        portion(second, 0, 150, orders(101, &[2, 3])),
    ];
    let hole = [both[0].clone(), portion(second, 7, 150, orders(101, &[2, 3]))];
    assert!(matches!(fed.store.apply(Target::Served, &hole).await, Err(Error::Moved)));
    assert_eq!(ranking(&fed.store).await, []);
    assert_eq!(fed.store.apply(Target::Served, &both).await.unwrap(), 101);
    assert_eq!(ranking(&fed.store).await, [(2, 99), (3, 50), (1, 49)]);
    assert_eq!(fed.store.apply(Target::Served, &both).await.unwrap(), 0);
    // The newest order of product 1 is the one that is not cancelled.
    let snapshot = fed.store.snapshot().await.unwrap();
    let newest = snapshot.entries.iter().find(|entry| entry.product_id == 1).unwrap().latest;
    assert_eq!(newest, start() - seconds(2));
}

#[tokio::test]
async fn counts_that_are_gone_take_nothing_and_a_fresh_generation_takes_their_place_at_once() {
    let mut fed = Fed::new().await;
    fed.order(start() - seconds(9), &[1]).await;
    let fresh = fed.store.create(TOKEN).await.unwrap();
    let shard = Shard::new(0).unwrap();
    let changes = vec![change(Kind::Confirmed, 1, start() - seconds(9), &[2])];
    let portions = [Portion { shard, after: 0, through: 1, changes }];
    fed.store.apply(Target::Fresh(&fresh), &portions).await.unwrap();
    assert_eq!(fed.ranking().await, [(1, 1)]);
    fed.store.serve(&fresh, TOKEN).await.unwrap();
    assert_eq!(fed.ranking().await, [(2, 1)]);

    let mut connection = client(&fed.redis).get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("test:*:total").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 1, "what is not served is swept: {keys:?}");
    let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    let applied = fed.store.apply(Target::Served, &portions).await;
    assert!(matches!(applied, Err(Error::Missing)));
    assert!(matches!(fed.store.serve(&fresh, TOKEN).await, Err(Error::Missing)));
    assert!(matches!(fed.store.snapshot().await, Err(Error::Missing)));
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused() {
    let kept = redis().await;
    store(&kept, &Hand::new()).check().await.unwrap();
    let mut options = RedisOptions::temporary();
    options.arguments = vec!["--maxmemory-policy".to_owned(), "allkeys-lru".to_owned()];
    let evicting = Redis::start(options).await.unwrap();
    let refused = store(&evicting, &Hand::new()).check().await;
    assert!(matches!(refused, Err(Error::Evicting(policy)) if policy == "allkeys-lru"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_lost_its_lock_serves_nothing_once_another_has_begun() {
    let mut fed = Fed::new().await;
    fed.order(start() - TimeDelta::seconds(1), &[1]).await;
    let (early, late) = (Token(8), Token(9));
    let frozen = fed.store.create(early).await.unwrap();
    let fresh = fed.store.create(late).await.unwrap();
    assert!(matches!(fed.store.serve(&frozen, early).await, Err(Error::Fenced)));
    assert!(matches!(fed.store.create(early).await, Err(Error::Fenced)));
    assert_eq!(fed.ranking().await, [(1, 1)], "what was served still is");
    fed.store.serve(&fresh, late).await.unwrap();
    assert_eq!(fed.ranking().await, []);
}
