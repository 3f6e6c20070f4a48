//! Waiting until the best sellers have heard of every order.
//!
//! The ranking follows the orders through outbox, relay and bus. It is settled when the outbox of the orders has nothing
//! left to publish (where the database is at hand to ask) and the list shows, for every product of this file, at least
//! the orders that this run knows of. That can be told over gRPC, and on a shop of its own it is exact.

use super::orders::{Placed, Told};
use crate::clients::{Clients, patiently};
use anyhow::{Context, Result, bail};
use api::ranking::v1::{ListTopProductsRequest, ListTopProductsResponse, TopProduct};
use chrono::{DateTime, Utc};
use db::{Conn, Db};
use prost_types::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long the list may stand still short of what is expected.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The longest list there is.
const LONGEST: i32 = 100;

/// Waits until the list is settled and returns its first `limit` products.
///
/// # Errors
/// A list that stands still short of the orders for two minutes; a shop that does not answer.
pub async fn best_sellers(
    clients: &Clients,
    placed: &[Placed],
    outbox: Option<&Db>,
    limit: usize,
) -> Result<Vec<TopProduct>> {
    let mut since = Instant::now();
    let mut before = None;
    loop {
        let pending = match outbox {
            Some(db) => pending(db).await?,
            None => 0,
        };
        let list = top(clients).await?;
        let missing = missing(&list, placed);
        if pending == 0 && missing == 0 {
            return Ok(list.products.into_iter().take(limit).collect());
        }
        if before != Some((pending, missing)) {
            before = Some((pending, missing));
            since = Instant::now();
        } else if since.elapsed() > PATIENCE {
            bail!(
                "the best sellers stand still: {pending} events unpublished, {missing} orders uncounted"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn top(clients: &Clients) -> Result<ListTopProductsResponse> {
    let request = ListTopProductsRequest { limit: LONGEST };
    patiently(PATIENCE, async || clients.ranking.clone().list_top_products(request).await)
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))
        .context("listing the best sellers")
}

async fn pending(outbox: &Db) -> Result<i64> {
    let count = outbox
        .read(async |conn: &mut Conn| -> db::Result<i64> { events::pending(conn).await })
        .await;
    count.context("asking the outbox")
}

/// How many orders of the window, counted once a product, the list does not show.
fn missing(list: &ListTopProductsResponse, placed: &[Placed]) -> i64 {
    let start = instant(list.window_start);
    let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
    for told in placed.iter().map(|placed| &placed.told) {
        match told {
            Told::Order { placed_at, products, .. } if *placed_at >= start => {
                for id in products {
                    *expected.entry(*id).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    let shown: BTreeMap<i64, i64> =
        list.products.iter().map(|product| (product.product_id, product.order_count)).collect();
    // A product that a full list does not show may have as many orders as the last one that it shows.
    let is_full = i32::try_from(list.products.len()).is_ok_and(|length| length >= LONGEST);
    let unseen = list.products.last().map_or(0, |last| if is_full { last.order_count } else { 0 });
    let short =
        |(id, orders): (&i64, &i64)| (orders - shown.get(id).copied().unwrap_or(unseen)).max(0);
    expected.iter().map(short).sum()
}

fn instant(at: Option<Timestamp>) -> DateTime<Utc> {
    let at = at.unwrap_or_default();
    let nanos = u32::try_from(at.nanos).unwrap_or_default();
    DateTime::from_timestamp(at.seconds, nanos).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seconds: i64, products: &[i64]) -> Placed {
        let placed_at = DateTime::from_timestamp(seconds, 0).unwrap();
        let told = Told::Order { placed_at, products: products.to_vec(), replayed: false };
        Placed { line: 1, took: Duration::ZERO, told }
    }

    fn list(counts: impl IntoIterator<Item = (i64, i64)>) -> ListTopProductsResponse {
        let product = |(product_id, order_count)| TopProduct {
            product_id,
            order_count,
            ..TopProduct::default()
        };
        ListTopProductsResponse {
            products: counts.into_iter().map(product).collect(),
            window_start: Some(Timestamp { seconds: 100, nanos: 0 }),
            ..ListTopProductsResponse::default()
        }
    }

    #[test]
    fn orders_that_the_list_does_not_show_are_missing() {
        let placed = [order(200, &[1, 2]), order(200, &[1])];
        assert_eq!(missing(&list([]), &placed), 3);
        assert_eq!(missing(&list([(1, 1)]), &placed), 2);
        assert_eq!(missing(&list([(1, 2), (2, 1)]), &placed), 0);
        assert_eq!(missing(&list([(1, 7), (2, 9)]), &placed), 0);
    }

    #[test]
    fn orders_before_the_window_are_not_expected() {
        assert_eq!(missing(&list([]), &[order(99, &[1])]), 0);
        assert_eq!(missing(&list([]), &[order(100, &[1])]), 1);
    }

    #[test]
    fn a_full_list_hides_products_with_no_more_orders_than_its_last() {
        let full = list((1..=100).map(|id| (id, 2)));
        let twice = [order(200, &[500]), order(200, &[500])];
        let thrice = [twice.as_slice(), &[order(200, &[500])]].concat();
        assert_eq!(missing(&full, &twice), 0);
        assert_eq!(missing(&full, &thrice), 1);
    }
}
