//! Clocks that are days ahead for a while, and a database that is put back.

use crate::support::{HOURS_AHEAD, Shop, TOKEN, client, ranking};
use chrono::{TimeDelta, Utc};
use embedded::{Redis, RedisOptions};
use events::Shard;
use ranking::Store;
use ranking::domain::{Change, Kind};
use ranking::store::{Portion, Target};
use testkit::Clock;

#[tokio::test(flavor = "multi_thread")]
async fn counts_come_back_by_themselves_when_the_clock_was_days_ahead_and_is_right_again() {
    let shop = Shop::open().await;
    let _counting = shop.count();
    for order in 1..=3 {
        shop.order(order, &[(1, 1)]).await;
    }
    shop.shows(&[(1, 3)]).await;
    let right = shop.store.snapshot().await.unwrap().window.as_of;
    shop.hand.advance(TimeDelta::days(4));
    shop.shows(&[]).await;
    shop.hand.set(right);
    shop.order(4, &[(1, 1), (2, 1)]).await;
    shop.shows(&[(1, 4), (2, 1)]).await;
    let window = shop.store.snapshot().await.unwrap().window;
    assert!(window.start < window.as_of, "{window:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_whose_clock_is_days_ahead_for_a_while_changes_nothing() {
    let clock = Clock::new();
    let mut options = RedisOptions::temporary();
    options.environment = clock.variables().into();
    let redis = Redis::start(options).await.unwrap();
    let store = Store::new(client(&redis), "test").unwrap();
    let generation = store.create(TOKEN).await.unwrap();
    store.serve(&generation, TOKEN).await.unwrap();
    let change = |position: i64| Change {
        position,
        kind: Kind::Confirmed,
        order_id: position,
        placed_at: Utc::now() - TimeDelta::minutes(position),
        products: vec![1],
    };
    let portion = |position: i64| Portion {
        shard: Shard::new(0).unwrap(),
        after: position - 1,
        through: position,
        changes: vec![change(position)],
    };
    store.apply(Target::Served, &[portion(1)]).await.unwrap();
    clock.set_ms(HOURS_AHEAD * 3_600_000);
    let mut connection = client(&redis).get_multiplexed_async_connection().await.unwrap();
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
    assert!(seconds > Utc::now().timestamp() + 3_600 * (HOURS_AHEAD - 1), "its clock is ahead");
    store.apply(Target::Served, &[portion(2)]).await.unwrap();
    let window = store.snapshot().await.unwrap().window;
    assert!(window.as_of < Utc::now() + TimeDelta::hours(2), "{window:?}");
    assert_eq!(ranking(&store).await, [(1, 2)]);
    clock.set_ms(0);
    store.apply(Target::Served, &[portion(3)]).await.unwrap();
    assert_eq!(ranking(&store).await, [(1, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_database_was_put_back_the_counts_are_those_of_a_recount() {
    let shop = Shop::open().await;
    let _counting = shop.count();
    for order in 1..=6 {
        shop.order(order, &[(1, 1), (order, 1)]).await;
    }
    let lost = [4, 5, 6];
    shop.shows(&[(1, 6), (6, 1), (5, 1), (4, 1), (3, 1), (2, 1)]).await;
    shop.put_back(lost[0]).await;
    for order in 7..=8 {
        shop.order(order, &[(1, 1)]).await;
    }
    shop.shows(&[(1, 5), (3, 1), (2, 1)]).await;
}
