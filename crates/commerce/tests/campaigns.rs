//! Crowds: many at once for few, over 256 connections that are all released by one barrier.
//!
//! Who is served first is not told beforehand; how many are, in which sequence, and what is left, is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and one tells its figures"
)]

use api::Reason;
use api::checkout::v1::{CheckoutLine, PlaceOrderRequest, PlacedOrder};
use api::coupon::v1::{GetCouponRequest, IssueCouponRequest, IssuedCoupon};
use coupon::TurnedAway;
use futures_util::stream::{self, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::{Coupon, Shop, at_once, reason, request_id};
use tokio::sync::Notify;
use tonic::Status;

/// Connections of the largest crowd.
const CONNECTIONS: usize = 256;
/// Calls in flight on each of them.
const IN_FLIGHT: usize = 8;

fn issue(user_id: i64, coupon_id: i64) -> IssueCouponRequest {
    IssueCouponRequest { request_id: request_id(), user_id, coupon_id }
}

fn buy(user_id: i64, products: &[i64]) -> PlaceOrderRequest {
    let line = |&product_id: &i64| CheckoutLine { product_id, quantity: 1 };
    PlaceOrderRequest {
        request_id: request_id(),
        user_id,
        lines: products.iter().map(line).collect(),
        coupon_id: None,
        expected_total_won: None,
    }
}

async fn place_all(
    shop: &Shop,
    orders: Vec<PlaceOrderRequest>,
) -> Vec<Result<PlacedOrder, Status>> {
    at_once(shop, orders, testkit::place).await
}

/// The campaign has issued exactly the quota, in a sequence without gaps, and nobody has two.
async fn assert_issued_out(shop: &Shop, coupon_id: i64, quota: i32, issued: &[IssuedCoupon]) {
    let sequences: BTreeSet<i32> = issued.iter().map(|it| it.sequence).collect();
    assert!(sequences.into_iter().eq(1..=quota), "the sequence has gaps");
    let users: BTreeSet<i64> = issued.iter().map(|it| it.user_id).collect();
    assert_eq!((issued.len(), users.len()), (count(quota), count(quota)));
    let found = shop.coupons().get_coupon(GetCouponRequest { coupon_id }).await.unwrap();
    assert_eq!(found.into_inner().coupon.unwrap().issued_count, quota);
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_users_at_once_each_get_one_of_five_thousand_coupons() {
    let shop = Shop::start().await;
    let coupon = shop.coupon(Coupon::fixed(1_000).quota(5_000)).await;
    let users = shop.users(5_000).await;
    let requests = users.into_iter().map(|user| issue(user, coupon)).collect();
    let issued: Result<Vec<_>, _> =
        at_once(&shop, requests, testkit::issue).await.into_iter().collect();
    assert_issued_out(&shop, coupon, 5_000, &issued.unwrap()).await;
    assert_eq!(shop.turned_away(), TurnedAway::default(), "nobody came too late");
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_thousand_requests_at_once_a_hundred_get_one_of_a_hundred_coupons() {
    let shop = Shop::start().await;
    let coupon = shop.coupon(Coupon::fixed(1_000).quota(100)).await;
    let users = shop.users(5_000).await;
    let requests = users.into_iter().map(|user| issue(user, coupon)).collect();
    let (issued, refused) = parted(at_once(&shop, requests, testkit::issue).await);
    assert_issued_out(&shop, coupon, 100, &issued).await;
    assert_eq!(reasons(&refused), HashMap::from([(Reason::CouponSoldOut, 4_900)]));
    let TurnedAway { memory, redis, database } = shop.turned_away();
    assert_eq!(memory + redis + database, 4_900);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn of_a_hundred_thousand_requests_five_thousand_win_though_redis_is_flushed_twice() {
    const REQUESTS: usize = 100_000;
    let shop = Shop::start().await;
    let coupon = shop.coupon(Coupon::fixed(1_000).quota(5_000)).await;
    let users = shop.users(20_000).await;
    let mut requests: Vec<_> =
        users.iter().cycle().take(REQUESTS).map(|user| issue(*user, coupon)).collect();
    requests.shuffle(&mut StdRng::seed_from_u64(5));
    let mut shares: Vec<_> =
        requests.chunks(REQUESTS.div_ceil(CONNECTIONS)).map(<[_]>::to_vec).collect();
    shares.retain(|share| !share.is_empty());

    // One flush while coupons are left, one long after the last is gone.
    let flushes = [(2_500, Notify::new()), (50_000, Notify::new())];
    let answered = AtomicUsize::new(0);
    let issuing = at_once(&shop, shares, async |channel, share: Vec<IssueCouponRequest>| {
        let answers = stream::iter(share).map(|request| testkit::issue(channel.clone(), request));
        let heard = |_: &Result<IssuedCoupon, Status>| {
            let answers = answered.fetch_add(1, Ordering::Relaxed) + 1;
            for (_, flush) in flushes.iter().filter(|(at, _)| *at == answers) {
                flush.notify_one();
            }
        };
        answers.buffer_unordered(IN_FLIGHT).inspect(heard).collect::<Vec<_>>().await
    });
    let flushing = async {
        for (_, flush) in &flushes {
            flush.notified().await;
            shop.flush_redis().await;
        }
    };
    let (answers, ()) = tokio::join!(issuing, flushing);
    let (issued, refused) = parted(answers.into_iter().flatten().collect());
    assert_issued_out(&shop, coupon, 5_000, &issued).await;
    let reasons = reasons(&refused);
    let (sold_out, held) = (reasons[&Reason::CouponSoldOut], reasons[&Reason::CouponAlreadyIssued]);
    assert_eq!((reasons.len(), sold_out + held), (2, REQUESTS - 5_000));
    let turned_away = shop.turned_away();
    println!("{held} held one already; sold out: {turned_away:?}");
    let TurnedAway { memory, redis, database } = turned_away;
    assert!(memory > 0 && redis > 0 && database > 0, "{turned_away:?}");
    assert_eq!(memory + redis + database, u64::try_from(sold_out).unwrap());
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_thousand_buyers_half_of_them_too_poor_exactly_five_hundred_get_a_unit() {
    const UNITS: i32 = 500;
    const PRICE: i64 = 3_000;
    let shop = Shop::start().await;
    let product = shop.product(PRICE, UNITS).await;
    let rich = shop.buyers(1_000, PRICE).await;
    let poor = shop.buyers(1_000, PRICE - 1_000).await;
    let mut coming: Vec<i64> = rich.iter().chain(&poor).copied().collect();
    coming.shuffle(&mut StdRng::seed_from_u64(1));

    // Who found the units reserved by others, of whom some could not pay, may come again.
    let mut served = BTreeSet::new();
    while shop.stock(product).await > 0 {
        let orders = coming.iter().map(|user| buy(*user, &[product])).collect();
        let outcomes = place_all(&shop, orders).await;
        let mut again = Vec::new();
        for (user, outcome) in coming.iter().zip(outcomes) {
            match outcome {
                Ok(order) => {
                    assert_eq!(order.paid_won, PRICE);
                    assert!(served.insert(*user));
                }
                Err(status) => match reason(&status) {
                    Reason::InsufficientBalance => assert!(poor.contains(user)),
                    Reason::InsufficientStock => again.push(*user),
                    other => panic!("{other}: {status:?}"),
                },
            }
        }
        let sold = i32::try_from(served.len()).unwrap();
        assert_eq!(shop.stock(product).await, UNITS - sold);
        coming = again;
    }
    assert_eq!(served.len(), count(UNITS));
    for user in rich.iter().chain(&poor) {
        let bought = served.contains(user);
        let before = if poor.contains(user) { PRICE - 1_000 } else { PRICE };
        assert_eq!(shop.balance(*user).await, if bought { 0 } else { before });
        assert_eq!(shop.orders_of(*user).await.len(), usize::from(bought));
    }
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_buyers_of_ten_products_in_any_order_each_gets_all_ten_or_none() {
    const UNITS: i32 = 900;
    const PRICE: i64 = 1_000;
    let shop = Shop::start().await;
    let mut products = Vec::new();
    for _ in 0..10 {
        products.push(shop.product(PRICE, UNITS).await);
    }
    let buyers = shop.buyers(1_000, 10 * PRICE).await;
    let mut random = StdRng::seed_from_u64(10);
    let mut any_order = || {
        products.shuffle(&mut random);
        products.clone()
    };
    let orders = buyers.iter().map(|user| buy(*user, &any_order())).collect();
    let (placed, refused) = parted(place_all(&shop, orders).await);
    assert_eq!(placed.len(), count(UNITS));
    assert!(placed.iter().all(|order| (order.lines.len(), order.paid_won) == (10, 10 * PRICE)));
    assert_eq!(reasons(&refused), HashMap::from([(Reason::InsufficientStock, 100)]));
    for product in &products {
        assert_eq!(shop.stock(*product).await, 0);
    }
    let mut left = 0;
    for user in buyers {
        left += shop.balance(user).await;
    }
    assert_eq!(left, 100 * 10 * PRICE);
    shop.stop_and_audit().await;
}

fn parted<T>(outcomes: Vec<Result<T, Status>>) -> (Vec<T>, Vec<Status>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(value) => good.push(value),
            Err(status) => bad.push(status),
        }
    }
    (good, bad)
}

fn reasons(refused: &[Status]) -> HashMap<Reason, usize> {
    let mut counts = HashMap::new();
    for status in refused {
        *counts.entry(reason(status)).or_default() += 1;
    }
    counts
}
