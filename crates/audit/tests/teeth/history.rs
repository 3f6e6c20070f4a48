//! A small history with everything in it: charges, orders with and without coupons, cancels, failures.

use crate::bench::Bench;
use api::checkout::v1::{CancelOrderRequest, CheckoutLine, PlaceOrderRequest, PlacedOrder};
use api::coupon::v1::IssueCouponRequest;
use api::coupon::v1::coupon_service_client::CouponServiceClient;
use api::product::v1::{AdjustStockRequest, UpdateProductRequest};
use api::wallet::v1::ChargeWalletRequest;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use events::SHARDS;
use prost_types::FieldMask;
use testkit::{Coupon, Shop, request_id};

/// A saga, and the order that it is about.
pub(crate) struct Saga {
    /// As reports name it.
    pub(crate) name: String,
    /// As SQL names it.
    pub(crate) hex: String,
    pub(crate) order: i64,
}

/// What the corruptions aim at.
pub(crate) struct History {
    /// Has charged twice and paid two orders.
    pub(crate) user: i64,
    /// In the plain order and in others.
    pub(crate) product: i64,
    /// In the plain order only.
    pub(crate) other: i64,
    /// The campaign of the used coupon.
    pub(crate) coupon: i64,
    /// The coupon that is used.
    pub(crate) issued: i64,
    /// An order without a coupon.
    pub(crate) plain: Saga,
    /// An order with the used coupon.
    pub(crate) with_coupon: Saga,
    /// The cancel that gave a coupon back.
    pub(crate) cancel: Saga,
    /// A checkout that was refused by the wallet.
    pub(crate) failed: Saga,
}

/// The same before the sagas' ids are known.
pub(crate) struct Lived {
    user: i64,
    product: i64,
    other: i64,
    coupon: i64,
    issued: i64,
    plain: i64,
    with_coupon: i64,
    cancelled: i64,
}

impl History {
    /// Lives it.
    pub(crate) async fn live(shop: &Shop) -> Lived {
        let (product, other) = (shop.product(1_000, 100).await, shop.product(3_000, 50).await);
        let user = shop.user(100_000).await;
        charge(shop, user, 5_000).await;
        let plain = shop.order(user, &[(product, 2), (other, 1)]).await.unwrap().order_id;

        let coupon = shop.coupon(Coupon::percent(10).quota(10)).await;
        let issued = shop.issued(user, coupon).await;
        let with_coupon = place(shop, user, product, 5, Some(coupon)).await.unwrap().order_id;

        let changeful = shop.user(50_000).await;
        shop.issued(changeful, coupon).await;
        let cancelled = place(shop, changeful, product, 3, Some(coupon)).await.unwrap().order_id;
        cancel(shop, changeful, cancelled).await;
        let lost = shop.coupon(Coupon::fixed(500).quota(2).forfeit()).await;
        shop.issued(changeful, lost).await;
        let order = place(shop, changeful, product, 1, Some(lost)).await.unwrap().order_id;
        cancel(shop, changeful, order).await;
        // The coupon that came back is used again.
        place(shop, changeful, product, 1, Some(coupon)).await.unwrap();

        // Enough that some shard of every outbox has a few events.
        let regular = shop.user(100_000).await;
        for _ in 0..SHARDS * 2 {
            shop.order(regular, &[(product, 1)]).await.unwrap();
        }

        rush(shop).await;

        let poor = shop.user(1_000).await;
        shop.issued(poor, coupon).await;
        assert!(place(shop, poor, product, 9, Some(coupon)).await.is_none());
        assert!(place(shop, user, other, 9_999, None).await.is_none());
        shop.user(0).await;

        change(shop, other).await;
        // Refused, and remembered.
        let again =
            IssueCouponRequest { request_id: request_id(), user_id: user, coupon_id: coupon };
        let call = async || shop.coupons().issue_coupon(again.clone()).await;
        testkit::patiently(call).await.unwrap_err();
        Lived { user, product, other, coupon, issued, plain, with_coupon, cancelled }
    }
}

impl Lived {
    /// Finds the sagas.
    pub(crate) async fn looked_up(self, bench: &Bench) -> History {
        let saga = async |kind: i64, condition: String| {
            let sql = format!(
                "SELECT CONCAT(HEX(saga_id), ' ', object) AS name FROM saga_history \
                WHERE kind = {kind} AND {condition} ORDER BY saga_id LIMIT 1"
            );
            let found = bench.text("orchestrator", &sql).await.pop().expect("the saga ended");
            let (hex, order) = found.split_once(' ').unwrap();
            let name = uuid::Uuid::parse_str(hex).unwrap().to_string();
            Saga {
                name: format!("saga {name}"),
                hex: format!("X'{hex}'"),
                order: order.parse().unwrap(),
            }
        };
        let refused = "outcome = 2 AND INSTR(result, 'INSUFFICIENT_BALANCE') > 0".to_owned();
        History {
            plain: saga(1, format!("object = '{}'", self.plain)).await,
            with_coupon: saga(1, format!("object = '{}'", self.with_coupon)).await,
            cancel: saga(2, format!("object = '{}'", self.cancelled)).await,
            failed: saga(1, refused).await,
            user: self.user,
            product: self.product,
            other: self.other,
            coupon: self.coupon,
            issued: self.issued,
        }
    }
}

/// Places an order of one line; `None` where it fails.
async fn place(
    shop: &Shop,
    user_id: i64,
    product_id: i64,
    quantity: i32,
    coupon_id: Option<i64>,
) -> Option<PlacedOrder> {
    let request = PlaceOrderRequest {
        request_id: request_id(),
        user_id,
        lines: vec![CheckoutLine { product_id, quantity }],
        coupon_id,
        expected_total_won: None,
    };
    testkit::place(shop.channel().await, request).await.ok()
}

async fn cancel(shop: &Shop, user_id: i64, order_id: i64) {
    let request = CancelOrderRequest { request_id: request_id(), user_id, order_id };
    let call = async || shop.checkout().cancel_order(request.clone()).await;
    // Repeated while it runs.
    while testkit::patiently(call).await.unwrap().into_inner().order.is_none() {}
}

async fn charge(shop: &Shop, user_id: i64, amount: i64) {
    let request = ChargeWalletRequest { request_id: request_id(), user_id, amount_won: amount };
    testkit::patiently(async || shop.wallets().charge_wallet(request.clone()).await).await.unwrap();
}

/// So many at once that every service commits several together, whose events then share a row.
async fn rush(shop: &Shop) {
    let users = shop.users(40).await;
    let products = [shop.product(1_000, 50).await, shop.product(2_000, 50).await];
    let coupon = shop.coupon(Coupon::fixed(100).quota(40)).await;
    let charges = users.iter().map(|user| ChargeWalletRequest {
        request_id: request_id(),
        user_id: *user,
        amount_won: 10_000,
    });
    testkit::at_once(shop, charges.collect(), async |channel, charge| {
        let mut wallets = WalletServiceClient::new(channel);
        testkit::patiently(async || wallets.charge_wallet(charge.clone()).await).await.unwrap();
    })
    .await;
    let issues = users.iter().map(|user| IssueCouponRequest {
        request_id: request_id(),
        user_id: *user,
        coupon_id: coupon,
    });
    testkit::at_once(shop, issues.collect(), async |channel, issue| {
        let mut coupons = CouponServiceClient::new(channel);
        testkit::patiently(async || coupons.issue_coupon(issue.clone()).await).await.unwrap();
    })
    .await;
    let orders = users.iter().map(|user| PlaceOrderRequest {
        request_id: request_id(),
        user_id: *user,
        lines: products.map(|product_id| CheckoutLine { product_id, quantity: 1 }).to_vec(),
        coupon_id: None,
        expected_total_won: None,
    });
    testkit::at_once(shop, orders.collect(), async |channel, order| {
        testkit::place(channel, order).await.unwrap();
    })
    .await;
}

/// A new price and a few units more.
async fn change(shop: &Shop, product_id: i64) {
    let update = UpdateProductRequest {
        request_id: request_id(),
        product_id,
        price_won: 3_500,
        update_mask: Some(FieldMask { paths: vec!["price_won".to_owned()] }),
        ..UpdateProductRequest::default()
    };
    let call = async || shop.product_admin().update_product(update.clone()).await;
    testkit::patiently(call).await.unwrap();
    let reason = "found".to_owned();
    let adjust = AdjustStockRequest { request_id: request_id(), product_id, delta: 7, reason };
    let call = async || shop.product_admin().adjust_stock(adjust.clone()).await;
    testkit::patiently(call).await.unwrap();
}
