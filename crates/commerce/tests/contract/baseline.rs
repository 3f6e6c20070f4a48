//! For every call a request that succeeds, and that names every field the request has.

use crate::dynamic;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use serde_json::{Value, json};
use testkit::{Coupon, Shop, request_id};
use tonic::transport::Channel;

/// A shop with something of everything.
pub(crate) struct World {
    pub shop: Shop,
    channel: Channel,
    admin: Channel,
    user: i64,
    product: i64,
    coupon: i64,
    issued: i64,
    order: i64,
    checkout: String,
    placed_by: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let shop = Shop::builder().set("saga.alert_after", "100ms").start().await;
        let user = shop.user(900_000_000).await;
        let product = shop.product(10_000, 900_000).await;
        let coupon = shop.coupon(Coupon::percent(10).quota(100_000)).await;
        let issued = shop.issued(user, coupon).await;
        let placed_by = request_id();
        let (checkout, order) = place(&shop, user, product, &placed_by).await;
        let (channel, admin) = (shop.channel().await, shop.admin_channel().await);
        Self { shop, channel, admin, user, product, coupon, issued, order, checkout, placed_by }
    }

    /// Ends the program and starts it again on the same databases.
    pub(crate) async fn restart(&mut self) {
        self.shop.restart().await;
        self.channel = self.shop.channel().await;
        self.admin = self.shop.admin_channel().await;
    }

    /// The listener that offers a method.
    pub(crate) fn channel_of(&self, method: &MethodDescriptor) -> Channel {
        let admin = testkit::is_admin(method.parent_service().name());
        if admin { self.admin.clone() } else { self.channel.clone() }
    }

    /// Fresh requests that succeed; together they name every field.
    pub(crate) async fn requests(&self, method: &MethodDescriptor) -> Vec<DynamicMessage> {
        let requests = self.json(method.name()).await;
        requests.into_iter().map(|json| dynamic::message(method.input(), json)).collect()
    }

    async fn json(&self, method: &str) -> Vec<Value> {
        let Self { shop, user, product, coupon, issued, order, .. } = self;
        let page = |of: Value| {
            let mut of = of;
            of["pageSize"] = json!(10);
            of["pageToken"] = json!("");
            vec![of]
        };
        let id = request_id();
        match method {
            "CreateWallet" => vec![json!({"requestId": id, "userId": shop.unused_user()})],
            "GetWallet" => vec![json!({"userId": user})],
            "ChargeWallet" => vec![json!({"requestId": id, "userId": user, "amountWon": 1_000})],
            "CreateProduct" => {
                vec![json!({"requestId": id, "name": "tea", "priceWon": 4_500, "stock": 7})]
            }
            "GetProduct" => vec![json!({"productId": product})],
            "BatchGetProducts" => vec![json!({"productIds": [product]})],
            "UpdateProduct" => {
                let product = shop.product(10_000, 5).await;
                vec![json!({
                    "requestId": id, "productId": product, "version": 1, "name": "green tea",
                    "priceWon": 5_000, "updateMask": "name,priceWon"
                })]
            }
            "AdjustStock" => {
                vec![json!({"requestId": id, "productId": product, "delta": 3, "reason": "found"})]
            }
            "ListStockMovements" => page(json!({"productId": product})),
            "CreateCoupon" => {
                let rest = |discount: &str, value: Value| {
                    json!({
                        "requestId": request_id(), "name": "autumn", discount: value,
                        "quota": 10, "validityDays": 7, "cancelPolicy": "CANCEL_POLICY_RESTORE",
                        "issuableFrom": "2026-01-01T00:00:00Z",
                        "issuableUntil": "2099-01-01T00:00:00Z"
                    })
                };
                vec![
                    rest("percent", json!({"percent": 10, "maxAmountWon": 5_000})),
                    rest("fixed", json!({"amountWon": 1_000})),
                ]
            }
            "GetCoupon" => vec![json!({"couponId": coupon})],
            "ListProducts" => page(json!({"nameContains": "product"})),
            "ListCoupons" => page(json!({})),
            "IssueCoupon" => {
                let user = shop.user(0).await;
                vec![json!({"requestId": id, "userId": user, "couponId": coupon})]
            }
            "GetIssuedCoupon" => vec![json!({"issuedCouponId": issued})],
            "ListWalletTransactions" => page(json!({
                "userId": user, "kind": "WALLET_TRANSACTION_KIND_CHARGE",
                "createdFrom": "2026-01-01T00:00:00Z", "createdTo": "2099-01-01T00:00:00Z"
            })),
            "ListIssuedCoupons" => {
                page(json!({"userId": user, "state": "ISSUED_COUPON_STATE_ACTIVE"}))
            }
            "GetOrder" => vec![json!({"orderId": order, "userId": user})],
            "ListOrders" => page(json!({
                "userId": user, "state": "ORDER_STATE_CONFIRMED",
                "createdFrom": "2026-01-01T00:00:00Z", "createdTo": "2099-01-01T00:00:00Z"
            })),
            "StreamEvents" => {
                let types = json!(["commerce.order.v1.OrderConfirmed"]);
                let sources = json!(["EVENT_SOURCE_ORDER", "EVENT_SOURCE_WALLET"]);
                vec![json!({"sources": sources, "cursor": "", "types": types})]
            }
            "ListTopProducts" => vec![json!({"limit": 5})],
            "RebuildRanking" => vec![json!({"requestId": id})],
            "PlaceOrder" => {
                let user = shop.user(1_000_000).await;
                shop.issued(user, *coupon).await;
                vec![json!({
                    "requestId": id, "userId": user, "couponId": coupon, "expectedTotalWon": 20_000,
                    "lines": [{"productId": product, "quantity": 2}]
                })]
            }
            "CancelOrder" => {
                let (_, order) = place(shop, *user, *product, &request_id()).await;
                vec![json!({"requestId": id, "userId": user, "orderId": order})]
            }
            "GetCheckout" => vec![
                json!({"checkoutId": self.checkout}),
                json!({"request": {"userId": user, "requestId": self.placed_by}}),
            ],
            "ListCheckouts" => page(json!({"userId": user, "state": "CHECKOUT_STATE_SUCCEEDED"})),
            "ListSagas" => page(json!({
                "state": "SAGA_STATE_SUCCEEDED", "kind": "checkout", "userId": user, "orderId": order,
                "traceId": "none", "createdFrom": "2026-01-01T00:00:00Z",
                "createdTo": "2099-01-01T00:00:00Z"
            })),
            "RetrySaga" | "ResolveSaga" => vec![operation(&shop.stuck_saga().await)],
            "AbortSaga" => vec![operation(&shop.hanging_saga().await)],
            "GetRecovery" => vec![json!({})],
            "PauseRecovery" | "ResumeRecovery" => {
                vec![json!({"requestId": id, "actor": "ann", "reason": "ticket 17"})]
            }
            "GetSaga" => vec![json!({"sagaId": self.checkout})],
            other => panic!("{other} has no request here: add one that succeeds"),
        }
    }
}

fn operation(saga: &str) -> Value {
    json!({"requestId": request_id(), "sagaId": saga, "actor": "ann", "reason": "ticket 17"})
}

async fn place(shop: &Shop, user_id: i64, product_id: i64, request_id: &str) -> (String, i64) {
    let request = api::checkout::v1::PlaceOrderRequest {
        request_id: request_id.to_owned(),
        user_id,
        lines: vec![api::checkout::v1::CheckoutLine { product_id, quantity: 1 }],
        ..Default::default()
    };
    let placed = shop.checkout().place_order(request).await.unwrap().into_inner();
    (placed.checkout_id, placed.order.unwrap().order_id)
}
