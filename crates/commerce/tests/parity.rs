//! The reference system's tests, over gRPC, on real servers: every row of its table, and what it got wrong.
//!
//! "At once" means released by one barrier, each caller on a connection of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use api::Reason;
use api::checkout::v1::{CheckoutLine, PlaceOrderRequest, PlacedOrder};
use api::coupon::v1::{
    GetCouponRequest, IssueCouponRequest, IssuedCouponState, ListIssuedCouponsRequest,
};
use api::ranking::v1::ListTopProductsRequest;
use api::wallet::v1::{ChargeWalletRequest, ListWalletTransactionsRequest};
use std::collections::{BTreeSet, HashMap};
use testkit::{Coupon, Shop, at_once, reason, request_id};
use tonic::Status;

fn charge(user_id: i64, amount: i64) -> ChargeWalletRequest {
    ChargeWalletRequest { request_id: request_id(), user_id, amount_won: amount }
}

fn order(user_id: i64, lines: &[(i64, i32)], coupon_id: Option<i64>) -> PlaceOrderRequest {
    let lines =
        lines.iter().map(|&(product_id, quantity)| CheckoutLine { product_id, quantity }).collect();
    PlaceOrderRequest {
        request_id: request_id(),
        user_id,
        lines,
        coupon_id,
        expected_total_won: None,
    }
}

/// Places these orders at once and returns their outcomes.
async fn place_at_once(
    shop: &Shop,
    orders: Vec<PlaceOrderRequest>,
) -> Vec<Result<PlacedOrder, Status>> {
    at_once(shop, orders, async |channel, order| testkit::place(channel, order).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_charges_at_once_are_both_counted() {
    let shop = Shop::start().await;
    let user = shop.user(0).await;
    let charges = vec![charge(user, 1_000), charge(user, 1_000)];
    let done = at_once(&shop, charges, async |channel, request| {
        testkit::wallets_on(channel).charge_wallet(request).await
    })
    .await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(shop.balance(user).await, 2_000);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_at_least_a_thousand_won() {
    let shop = Shop::start().await;
    let user = shop.user(0).await;
    let refused = shop.wallets().charge_wallet(charge(user, 999)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::ChargeAmountBelowMinimum);
    assert_eq!(shop.balance(user).await, 0);
    let charged = shop.wallets().charge_wallet(charge(user, 1_000)).await.unwrap().into_inner();
    assert_eq!(charged.wallet.unwrap().balance_won, 1_000);
    let unknown = shop.wallets().charge_wallet(charge(987_654_321, 1_000)).await.unwrap_err();
    assert_eq!(reason(&unknown), Reason::WalletNotFound);
    let too_little = shop.wallets().charge_wallet(charge(987_654_321, 999)).await.unwrap_err();
    assert_eq!(reason(&too_little), Reason::ChargeAmountBelowMinimum, "own checks come first");
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_is_sold_once() {
    let shop = Shop::start().await;
    let product = shop.product(1_000, 1).await;
    let (a, b) = (shop.user(10_000).await, shop.user(10_000).await);
    let orders = vec![order(a, &[(product, 1)], None), order(b, &[(product, 1)], None)];
    let outcomes = place_at_once(&shop, orders).await;
    let (sold, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((sold.len(), refused.len()), (1, 1));
    assert_eq!(reason(refused[0].as_ref().unwrap_err()), Reason::InsufficientStock);
    assert_eq!(shop.stock(product).await, 0);
    assert_eq!(shop.balance(a).await + shop.balance(b).await, 19_000);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_buyers_of_plenty_are_both_served() {
    let shop = Shop::start().await;
    let product = shop.product(1_000, 5).await;
    let (a, b) = (shop.user(10_000).await, shop.user(10_000).await);
    let orders = vec![order(a, &[(product, 1)], None), order(b, &[(product, 1)], None)];
    let outcomes = place_at_once(&shop, orders).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(shop.stock(product).await, 3);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orders_of_one_user_at_once_are_both_paid() {
    let shop = Shop::start().await;
    let product = shop.product(2_000, 5).await;
    let user = shop.user(100_000).await;
    let orders = vec![order(user, &[(product, 1)], None), order(user, &[(product, 1)], None)];
    let outcomes = place_at_once(&shop, orders).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(shop.balance(user).await, 96_000);
    assert_eq!(shop.stock(product).await, 3);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coupon_serves_one_of_two_orders_at_once() {
    let shop = Shop::start().await;
    let product = shop.product(10_000, 10).await;
    let user = shop.user(100_000).await;
    let coupon = shop.coupon(Coupon::percent(10)).await;
    shop.issued(user, coupon).await;
    let orders = vec![
        order(user, &[(product, 1)], Some(coupon)),
        order(user, &[(product, 1)], Some(coupon)),
    ];
    let outcomes = place_at_once(&shop, orders).await;
    let (paid, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((paid.len(), refused.len()), (1, 1));
    assert_eq!(reason(refused[0].as_ref().unwrap_err()), Reason::CouponNotUsable);
    assert_eq!(shop.stock(product).await, 9);
    assert_eq!(shop.balance(user).await, 91_000);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_two_products_with_a_coupon_adds_up() {
    let shop = Shop::start().await;
    let (a, b) = (shop.product(1_000, 10).await, shop.product(2_000, 20).await);
    let user = shop.user(100_000).await;
    let coupon = shop.coupon(Coupon::percent(10)).await;
    let issued = shop.issued(user, coupon).await;
    let request = order(user, &[(a, 10), (b, 5)], Some(coupon));
    let placed = testkit::place(shop.channel().await, request).await.unwrap();
    assert_eq!((placed.total_won, placed.discount_won, placed.paid_won), (20_000, 2_000, 18_000));
    assert_eq!(placed.issued_coupon_id, Some(issued));
    assert_eq!((shop.stock(a).await, shop.stock(b).await), (0, 15));
    assert_eq!(shop.balance(user).await, 82_000);
    let coupons = issued_coupons(&shop, user).await;
    assert_eq!(coupons.len(), 1);
    assert_eq!(coupons[0].state(), IssuedCouponState::Used);
    assert_eq!(coupons[0].order_id, Some(placed.order_id));
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_paid_leaves_everything_as_it_was() {
    let shop = Shop::start().await;
    let products = [
        shop.product(1_000, 10).await,
        shop.product(2_000, 20).await,
        shop.product(3_000, 30).await,
    ];
    let user = shop.user(100_000).await;
    let coupon = shop.coupon(Coupon::percent(10)).await;
    shop.issued(user, coupon).await;
    let lines = [(products[0], 10), (products[1], 20), (products[2], 30)];
    let refused =
        testkit::place(shop.channel().await, order(user, &lines, Some(coupon))).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::InsufficientBalance);
    let values = api::Refusal::from_status(&refused).unwrap().metadata;
    assert_eq!(
        (values["available_won"].as_str(), values["required_won"].as_str()),
        ("100000", "126000")
    );
    for (product, stock) in products.into_iter().zip([10, 20, 30]) {
        assert_eq!(shop.stock(product).await, stock);
    }
    assert_eq!(shop.balance(user).await, 100_000);
    assert_eq!(issued_coupons(&shop, user).await[0].state(), IssuedCouponState::Active);
    assert!(shop.orders_of(user).await.is_empty());
    shop.stop_and_audit().await;
}

async fn issued_coupons(shop: &Shop, user_id: i64) -> Vec<api::coupon::v1::IssuedCoupon> {
    let request = ListIssuedCouponsRequest { user_id, ..Default::default() };
    shop.coupons().list_issued_coupons(request).await.unwrap().into_inner().issued_coupons
}

/// Issues coupons at once, each request until it is decided, and returns the sequences granted and the refusals.
async fn issue_at_once(shop: &Shop, coupon_id: i64, users: Vec<i64>) -> (Vec<i32>, Vec<Status>) {
    let requests = users
        .into_iter()
        .map(|user_id| IssueCouponRequest { request_id: request_id(), user_id, coupon_id })
        .collect();
    let outcomes = at_once(shop, requests, testkit::issue).await;
    let mut sequences = Vec::new();
    let mut refusals = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(issued) => sequences.push(issued.sequence),
            Err(status) => refusals.push(status),
        }
    }
    (sequences, refusals)
}

async fn issued_count(shop: &Shop, coupon_id: i64) -> i32 {
    let coupon = shop.coupons().get_coupon(GetCouponRequest { coupon_id }).await.unwrap();
    coupon.into_inner().coupon.unwrap().issued_count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_a_hundred_serves_a_hundred_of_a_hundred_and_fifty() {
    let shop = Shop::start().await;
    let coupon = shop.coupon(Coupon::fixed(1_000).quota(100)).await;
    let users = shop.users(150).await;
    let (sequences, refusals) = issue_at_once(&shop, coupon, users).await;
    assert_eq!(sequences.len(), 100);
    assert_eq!(sequences.into_iter().collect::<BTreeSet<_>>(), (1..=100).collect());
    assert!(refusals.iter().all(|status| reason(status) == Reason::CouponSoldOut));
    assert_eq!(issued_count(&shop, coupon).await, 100);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_users_twice_each_get_five_thousand_coupons() {
    let shop = Shop::start().await;
    let coupon = shop.coupon(Coupon::fixed(1_000).quota(5_000)).await;
    let users = shop.users(5_000).await;
    let twice = users.iter().chain(&users).copied().collect();
    let (sequences, refusals) = issue_at_once(&shop, coupon, twice).await;
    let expected = [Reason::CouponAlreadyIssued, Reason::CouponSoldOut];
    let other = refusals.iter().find(|status| !expected.contains(&reason(status)));
    assert!(other.is_none(), "{other:?}");
    assert_eq!(sequences.len(), 5_000);
    assert_eq!(sequences.into_iter().collect::<BTreeSet<_>>(), (1..=5_000).collect());
    assert_eq!(refusals.len(), 5_000);
    assert_eq!(issued_count(&shop, coupon).await, 5_000);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_users_and_coupons_are_errors() {
    let shop = Shop::start().await;
    let user = shop.user(0).await;
    let coupon = shop.coupon(Coupon::fixed(1_000)).await;
    let ask =
        |user_id, coupon_id| IssueCouponRequest { request_id: request_id(), user_id, coupon_id };
    let status = shop.coupons().issue_coupon(ask(987_654_321, coupon)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::WalletNotFound);
    let status = shop.coupons().issue_coupon(ask(user, 987_654_321)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CouponNotFound);
    shop.stop_and_audit().await;
}

async fn top(shop: &Shop, limit: i32) -> Vec<(i64, i64)> {
    shop.settled().await;
    let answer = shop.ranking().list_top_products(ListTopProductsRequest { limit }).await.unwrap();
    let products = answer.into_inner().products;
    products.into_iter().map(|product| (product.product_id, product.order_count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn best_sellers_are_counted_in_orders_and_ties_go_to_the_latest() {
    let shop = Shop::start().await;
    assert!(top(&shop, 0).await.is_empty(), "nothing sold, nothing listed");
    let user = shop.user(1_000_000).await;
    let mut products = Vec::new();
    for _ in 0..7 {
        products.push(shop.product(1_000, 1_000).await);
    }
    let mut last_order: HashMap<i64, usize> = HashMap::new();
    let mut placed = 0;
    for (product, times) in products.iter().zip([4, 3, 2, 2, 2, 1, 1]) {
        for _ in 0..times {
            shop.order(user, &[(*product, 1)]).await.unwrap();
            placed += 1;
            last_order.insert(*product, placed);
        }
    }
    let mut tied = products[2..5].to_vec();
    tied.sort_by_key(|product| std::cmp::Reverse(last_order[product]));
    let expected =
        vec![(products[0], 4), (products[1], 3), (tied[0], 2), (tied[1], 2), (tied[2], 2)];
    assert_eq!(top(&shop, 0).await, expected);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_small_orders_outrank_a_big_one() {
    let shop = Shop::start().await;
    let user = shop.user(1_000_000).await;
    let (a, b) = (shop.product(1_000, 1_000).await, shop.product(1_000, 1_000).await);
    shop.order(user, &[(a, 100)]).await.unwrap();
    shop.order(user, &[(b, 1)]).await.unwrap();
    shop.order(user, &[(b, 1)]).await.unwrap();
    assert_eq!(top(&shop, 5).await, vec![(b, 2), (a, 1)]);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_an_order_come_in_the_documented_order() {
    let shop = Shop::start().await;
    let (scarce, plenty) = (shop.product(1_000, 1).await, shop.product(1_000, 100).await);
    let coupon = shop.coupon(Coupon::fixed(500)).await;
    let (poor, missing) = (shop.user(0).await, 987_654_321);
    let channel = shop.channel().await;
    let outcome = |request| testkit::place(channel.clone(), request);
    let refused = |result: Result<PlacedOrder, Status>| reason(&result.unwrap_err());

    // Everything is wrong with the first; each next one mends what was told.
    let all_wrong = order(missing, &[(scarce, 9), (missing, 1)], Some(missing));
    assert_eq!(refused(outcome(all_wrong).await), Reason::ProductNotFound);
    let short = order(missing, &[(scarce, 9), (plenty, 1)], Some(missing));
    assert_eq!(refused(outcome(short).await), Reason::InsufficientStock);
    let unpriced = PlaceOrderRequest {
        expected_total_won: Some(7),
        ..order(missing, &[(plenty, 1)], Some(missing))
    };
    assert_eq!(refused(outcome(unpriced).await), Reason::PriceChanged);
    let no_coupon = order(missing, &[(plenty, 1)], Some(missing));
    assert_eq!(refused(outcome(no_coupon).await), Reason::CouponNotFound);
    let not_issued = order(missing, &[(plenty, 1)], Some(coupon));
    assert_eq!(refused(outcome(not_issued).await), Reason::IssuedCouponNotFound);
    let no_wallet = order(missing, &[(plenty, 1)], None);
    assert_eq!(refused(outcome(no_wallet).await), Reason::WalletNotFound);
    let poor_order = order(poor, &[(plenty, 1)], None);
    assert_eq!(refused(outcome(poor_order).await), Reason::InsufficientBalance);
    assert_eq!((shop.stock(scarce).await, shop.stock(plenty).await), (1, 100));
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_and_an_order_stand_in_the_ledger() {
    let shop = Shop::start().await;
    let product = shop.product(2_500, 10).await;
    let user = shop.user(10_000).await;
    let placed = shop.order(user, &[(product, 2)]).await.unwrap();
    let request = ListWalletTransactionsRequest { user_id: user, ..Default::default() };
    let entries = shop.wallets().list_wallet_transactions(request).await.unwrap().into_inner();
    let entries: Vec<_> = entries
        .transactions
        .iter()
        .map(|entry| (entry.seq, entry.amount_won, entry.balance_after_won, entry.order_id))
        .collect();
    assert_eq!(entries, vec![(2, -5_000, 5_000, Some(placed.order_id)), (1, 10_000, 10_000, None)]);
    shop.stop_and_audit().await;
}
