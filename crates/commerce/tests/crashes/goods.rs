//! What the shop sells, and who buys.

use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{CancelPolicy, CreateCouponRequest, FixedDiscount, IssueCouponRequest};
use api::product::v1::CreateProductRequest;
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest};
use commerce::clients::{Clients, patiently};
use futures_util::stream::{self, StreamExt};
use std::time::Duration;
use testkit::request_id;

/// Won a product; more than a coupon takes off, so that every order moves money.
const PRICE: i64 = 2_000;
const OFF: i64 = 500;
/// Users who can pay for everything, and users who can pay for nothing but hold a coupon.
const RICH: i64 = 150;
const POOR: i64 = 50;
const PRODUCTS: usize = 20;
/// A product id that no product has.
pub(crate) const NO_PRODUCT: i64 = 987_654_321;
/// Users and products made at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_mins(1);

/// What the shop sells, and to whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct Goods {
    pub(crate) products: Vec<i64>,
    /// The product of which there is too little.
    pub(crate) scarce: i64,
    pub(crate) rich: Vec<i64>,
    pub(crate) poor: Vec<i64>,
    /// The campaign of which every rich user has a coupon, and the one for the poor.
    pub(crate) for_rich: i64,
    pub(crate) for_poor: i64,
}

impl Goods {
    pub(crate) async fn make(clients: &Clients) -> Self {
        let mut products = Vec::new();
        for _ in 0..PRODUCTS {
            products.push(product(clients, 1_000_000).await);
        }
        let scarce = product(clients, 1).await;
        let rich: Vec<i64> = (1..=RICH).collect();
        let poor: Vec<i64> = (RICH + 1..=RICH + POOR).collect();
        each(&rich, async |user| user_with(clients, user, 1_000_000_000).await).await;
        each(&poor, async |user| user_with(clients, user, PRICE - OFF - 1).await).await;
        let for_poor = campaign(clients, &poor).await;
        Self { products, scarce, rich, poor, for_rich: 0, for_poor }
    }

    /// Every rich user gets a coupon once more.
    pub(crate) async fn new_campaign(&mut self, clients: &Clients) {
        self.for_rich = campaign(clients, &self.rich).await;
    }
}

async fn each(users: &[i64], make: impl AsyncFn(i64)) {
    stream::iter(users).for_each_concurrent(AT_ONCE, |user| make(*user)).await;
}

async fn product(clients: &Clients, stock: i32) -> i64 {
    let name = "a product".to_owned();
    let create = CreateProductRequest { request_id: request_id(), name, price_won: PRICE, stock };
    let made = patiently(PATIENCE, async || {
        clients.product_admin.clone().create_product(create.clone()).await
    });
    made.await.unwrap().into_inner().product.unwrap().product_id
}

async fn user_with(clients: &Clients, user_id: i64, amount: i64) {
    let create = CreateWalletRequest { request_id: request_id(), user_id };
    let made =
        patiently(PATIENCE, async || clients.wallets.clone().create_wallet(create.clone()).await);
    made.await.unwrap();
    let charge = ChargeWalletRequest { request_id: request_id(), user_id, amount_won: amount };
    let charged =
        patiently(PATIENCE, async || clients.wallets.clone().charge_wallet(charge.clone()).await);
    charged.await.unwrap();
}

/// A campaign of which each of these users has a coupon.
async fn campaign(clients: &Clients, users: &[i64]) -> i64 {
    let create = CreateCouponRequest {
        request_id: request_id(),
        name: "a coupon".to_owned(),
        discount: Some(Discount::Fixed(FixedDiscount { amount_won: OFF })),
        quota: 1_000,
        validity_days: 7,
        issuable_from: None,
        issuable_until: None,
        cancel_policy: CancelPolicy::Restore.into(),
    };
    let made = patiently(PATIENCE, async || {
        clients.coupon_admin.clone().create_coupon(create.clone()).await
    });
    let coupon_id = made.await.unwrap().into_inner().coupon.unwrap().coupon_id;
    each(users, async |user_id| {
        let issue = IssueCouponRequest { request_id: request_id(), user_id, coupon_id };
        let issued =
            patiently(PATIENCE, async || clients.coupons.clone().issue_coupon(issue.clone()).await);
        issued.await.unwrap();
    })
    .await;
    coupon_id
}
