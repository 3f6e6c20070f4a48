//! Users, products and coupons for tests.

use super::Shop;
use super::calls::patiently;
use crate::request_id;
use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{
    CancelPolicy, CreateCouponRequest, FixedDiscount, IssueCouponRequest, PercentDiscount,
};
use api::order::v1::{ListOrdersRequest, Order};
use api::product::v1::{CreateProductRequest, GetProductRequest};
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest, GetWalletRequest};
use futures_util::stream::{self, StreamExt};
use std::sync::atomic::Ordering;

/// The most that is charged at once.
const MOST_CHARGE: i64 = 1_000_000_000;
/// The least.
const LEAST_CHARGE: i64 = 1_000;
/// Users made at once.
const AT_ONCE: usize = 64;

/// A coupon campaign to be: quota 1,000, valid for 7 days, restored when an order is cancelled.
#[derive(Debug, Clone)]
pub struct Coupon(CreateCouponRequest);

impl Coupon {
    /// A share of the total.
    pub fn percent(percent: i32) -> Self {
        Self::worth(Discount::Percent(PercentDiscount { percent, max_amount_won: None }))
    }

    /// A fixed sum in won.
    pub fn fixed(amount_won: i64) -> Self {
        Self::worth(Discount::Fixed(FixedDiscount { amount_won }))
    }

    fn worth(discount: Discount) -> Self {
        Self(CreateCouponRequest {
            request_id: request_id(),
            name: "a coupon".to_owned(),
            discount: Some(discount),
            quota: 1_000,
            validity_days: 7,
            issuable_from: None,
            issuable_until: None,
            cancel_policy: CancelPolicy::Restore.into(),
        })
    }

    /// Takes off at most this many won; for a share of the total.
    #[must_use]
    pub fn cap(mut self, won: i64) -> Self {
        if let Some(Discount::Percent(percent)) = &mut self.0.discount {
            percent.max_amount_won = Some(won);
        }
        self
    }

    /// How many can be issued.
    #[must_use]
    pub fn quota(mut self, quota: i32) -> Self {
        self.0.quota = quota;
        self
    }

    /// Days after the day of issue.
    #[must_use]
    pub fn validity_days(mut self, days: i32) -> Self {
        self.0.validity_days = days;
        self
    }

    /// Lost when its order is cancelled.
    #[must_use]
    pub fn forfeit(mut self) -> Self {
        self.0.cancel_policy = CancelPolicy::Forfeit.into();
        self
    }
}

impl Shop {
    /// A user id that no call of this has given before, and that has no wallet.
    pub fn unused_user(&self) -> i64 {
        self.next_user.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh user with this balance: 0, or at least 1,000 won.
    pub async fn user(&self, balance: i64) -> i64 {
        let user_id = self.unused_user();
        let create = CreateWalletRequest { request_id: request_id(), user_id };
        patiently(async || self.wallets().create_wallet(create.clone()).await)
            .await
            .expect("a wallet");
        let mut left = balance;
        while left > 0 {
            // What remains must itself be enough for a charge.
            let amount = match left {
                ..=MOST_CHARGE => left,
                _ => (left - LEAST_CHARGE).min(MOST_CHARGE),
            };
            let charge =
                ChargeWalletRequest { request_id: request_id(), user_id, amount_won: amount };
            patiently(async || self.wallets().charge_wallet(charge.clone()).await)
                .await
                .expect("a charge");
            left -= amount;
        }
        user_id
    }

    /// Fresh users with empty wallets.
    pub async fn users(&self, count: usize) -> Vec<i64> {
        self.buyers(count, 0).await
    }

    /// Fresh users, each with this balance.
    pub async fn buyers(&self, count: usize, balance: i64) -> Vec<i64> {
        stream::iter(0..count).map(|_| self.user(balance)).buffered(AT_ONCE).collect().await
    }

    /// A product with this price in won and this stock.
    pub async fn product(&self, price_won: i64, stock: i32) -> i64 {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        let name = format!("product {number}");
        let create = CreateProductRequest { request_id: request_id(), name, price_won, stock };
        let made =
            patiently(async || self.product_admin().create_product(create.clone()).await).await;
        made.expect("a product").into_inner().product.expect("a product in the answer").product_id
    }

    /// A coupon campaign.
    pub async fn coupon(&self, coupon: Coupon) -> i64 {
        let made =
            patiently(async || self.coupon_admin().create_coupon(coupon.0.clone()).await).await;
        made.expect("a coupon").into_inner().coupon.expect("a coupon in the answer").coupon_id
    }

    /// Issues a coupon to a user and returns the id of the issued one.
    pub async fn issued(&self, user_id: i64, coupon_id: i64) -> i64 {
        let issue = IssueCouponRequest { request_id: request_id(), user_id, coupon_id };
        let issued = patiently(async || self.coupons().issue_coupon(issue.clone()).await).await;
        let issued = issued.expect("an issued coupon").into_inner().issued_coupon;
        issued.expect("an issued coupon in the answer").issued_coupon_id
    }

    /// A user's balance in won.
    pub async fn balance(&self, user_id: i64) -> i64 {
        let read =
            patiently(async || self.wallets().get_wallet(GetWalletRequest { user_id }).await).await;
        read.expect("a wallet").into_inner().wallet.expect("a wallet in the answer").balance_won
    }

    /// A product's stock.
    pub async fn stock(&self, product_id: i64) -> i32 {
        let request = GetProductRequest { product_id };
        let read = patiently(async || self.products().get_product(request).await).await;
        read.expect("a product").into_inner().product.expect("a product in the answer").stock
    }

    /// All orders of a user, newest first.
    pub async fn orders_of(&self, user_id: i64) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut request = ListOrdersRequest { user_id, page_size: 200, ..Default::default() };
        loop {
            let page = patiently(async || self.orders().list_orders(request.clone()).await).await;
            let page = page.expect("a page of orders").into_inner();
            orders.extend(page.orders);
            if page.next_page_token.is_empty() {
                return orders;
            }
            request.page_token = page.next_page_token;
        }
    }
}
