//! The orders themselves: every basket one, many at once, each until it has its answer.

use super::baskets::{Basket, Baskets};
use super::setup::Shelf;
use crate::clients::{Clients, backoff, patiently};
use api::Refusal;
use api::checkout::v1::{CheckoutLine, CheckoutState, PlaceOrderRequest, PlacedOrder};
use api::outcome::IDEMPOTENCY_REPLAYED;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Request;

/// How long an order may be asked for again before it counts as failed.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long one call waits.
const CALL: Duration = Duration::from_secs(30);

/// What became of a basket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The basket's line.
    pub line: u64,
    /// From the first call to the answer.
    pub took: Duration,
    /// The answer.
    pub told: Told,
}

/// What a basket's order was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// There is an order.
    Order {
        /// When it was placed.
        placed_at: DateTime<Utc>,
        /// Its products.
        products: Vec<i64>,
        /// Whether an earlier run had placed it.
        replayed: bool,
    },
    /// There is none.
    Failed {
        /// The error's reason.
        reason: String,
        /// The error as a sentence.
        message: String,
    },
}

/// Places every basket as one order, `concurrency` at once; `told` hears of each.
pub async fn place_all(
    clients: &Clients,
    baskets: &Baskets,
    shelf: &Shelf,
    concurrency: usize,
    mut told: impl FnMut(&Placed),
) -> Vec<Placed> {
    let mut orders = stream::iter(&baskets.baskets)
        .map(|basket| place(clients, request(baskets, shelf, basket), basket.line))
        .buffer_unordered(concurrency.max(1));
    let mut all = Vec::with_capacity(baskets.baskets.len());
    while let Some(placed) = orders.next().await {
        told(&placed);
        all.push(placed);
    }
    all
}

fn request(baskets: &Baskets, shelf: &Shelf, basket: &Basket) -> PlaceOrderRequest {
    let line = |(place, quantity): &(usize, i32)| {
        let product_id = shelf.ids.get(*place).copied().unwrap_or_default();
        CheckoutLine { product_id, quantity: *quantity }
    };
    PlaceOrderRequest {
        request_id: baskets.order_id(basket),
        user_id: basket.user(),
        lines: basket.products.iter().map(line).collect(),
        coupon_id: None,
        expected_total_won: None,
    }
}

async fn place(clients: &Clients, request: PlaceOrderRequest, line: u64) -> Placed {
    let since = Instant::now();
    let mut still_running = 0;
    let told = loop {
        let answer = patiently(PATIENCE, async || {
            let mut call = Request::new(request.clone());
            call.set_timeout(CALL);
            clients.checkout.clone().place_order(call).await
        });
        let response = match answer.await {
            Ok(response) => response,
            Err(status) => {
                let refusal = Refusal::from_status(&status);
                let reason = refusal.map(|refusal| refusal.reason.to_string());
                let reason = reason.unwrap_or_else(|| format!("{:?}", status.code()));
                break Told::Failed { reason, message: status.message().to_owned() };
            }
        };
        let replayed = response.metadata().contains_key(IDEMPOTENCY_REPLAYED);
        let answer = response.into_inner();
        match (answer.state(), answer.order) {
            (CheckoutState::Succeeded, Some(order)) => break ordered(&order, replayed),
            (CheckoutState::Running, _) if since.elapsed() < PATIENCE => {
                tokio::time::sleep(backoff(still_running)).await;
                still_running += 1;
            }
            (state, _) => {
                let message = "no order came of it in time".to_owned();
                break Told::Failed { reason: state.as_str_name().to_owned(), message };
            }
        }
    };
    Placed { line, took: since.elapsed(), told }
}

fn ordered(order: &PlacedOrder, replayed: bool) -> Told {
    let at = order.created_at.unwrap_or_default();
    let nanos = u32::try_from(at.nanos).unwrap_or_default();
    let placed_at = DateTime::from_timestamp(at.seconds, nanos).unwrap_or_default();
    let products = order.lines.iter().map(|line| line.product_id).collect();
    Told::Order { placed_at, products, replayed }
}
