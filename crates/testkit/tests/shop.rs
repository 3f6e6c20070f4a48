//! The shop that tests get.
#![cfg(feature = "shop")]

use api::ranking::v1::ListTopProductsRequest;
use testkit::{Coupon, Shop, at_once};
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_sells_and_is_clean_afterwards() {
    let shop = Shop::start().await;
    let user = shop.user(100_000).await;
    let product = shop.product(2_000, 10).await;
    let coupon = shop.coupon(Coupon::percent(10)).await;
    shop.issued(user, coupon).await;
    let order = shop.order(user, &[(product, 3)]).await.unwrap();
    assert_eq!(order.paid_won, 6_000);
    assert_eq!((shop.balance(user).await, shop.stock(product).await), (94_000, 7));
    shop.settled().await;
    let best = shop.ranking().list_top_products(ListTopProductsRequest { limit: 5 }).await;
    assert_eq!(best.unwrap().into_inner().products[0].order_count, 1);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_finished_after_a_restart() {
    let shop = Shop::start().await;
    let user = shop.user(1_000_000).await;
    let product = shop.product(1_000, 100).await;
    let orders = vec![(); 20];
    let channel = shop.channel().await;
    let answered = Notify::new();
    let placing = at_once(&shop, orders, async |_, ()| {
        // Some of these end by the crash; whether there is an order, the shop has to settle.
        let answer = testkit::checkout_on(channel.clone())
            .place_order(api::checkout::v1::PlaceOrderRequest {
                request_id: testkit::request_id(),
                user_id: user,
                lines: vec![api::checkout::v1::CheckoutLine { product_id: product, quantity: 1 }],
                coupon_id: None,
                expected_total_won: None,
            })
            .await;
        answered.notify_one();
        answer.is_ok()
    });
    let crash = async {
        answered.notified().await;
        shop.crash().await;
    };
    let (_, ()) = tokio::join!(placing, crash);
    shop.restart().await;
    shop.settled().await;
    let orders = i32::try_from(shop.orders_of(user).await.len()).unwrap();
    assert_eq!(shop.balance(user).await, 1_000_000 - i64::from(orders) * 1_000);
    assert_eq!(shop.stock(product).await, 100 - orders);
    shop.stop_and_audit().await;
}
