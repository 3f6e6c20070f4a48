//! What baskets need before they can be ordered: products, stock, users with wallets and money in them.
//!
//! Every call has a request id of its own making, so doing it all again does nothing again. Stock and money belong to the
//! file: each file brings what its own baskets use up.

use super::baskets::{Baskets, USERS, price, request_id};
use crate::clients::{Clients, patiently};
use anyhow::{Context, Result};
use api::product::v1::{AdjustStockRequest, CreateProductRequest, ListProductsRequest, Product};
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest};
use api::{Reason, Refusal};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tonic::Status;

/// How long a call of the preparation may be repeated.
const PATIENCE: Duration = Duration::from_mins(2);
/// Calls of the preparation at once.
const AT_ONCE: usize = 64;
/// Products a page.
const PAGE: i32 = 200;
/// A charge is at least this many won …
const LEAST_CHARGE: i64 = 1_000;
/// … and at most this many.
const MOST_CHARGE: i64 = 1_000_000_000;

/// The products of the baskets, by place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    /// Their ids.
    pub ids: Vec<i64>,
    /// What each costs, in won.
    pub prices: Vec<i64>,
}

/// Creates what is missing, and brings stock and money for the file's baskets.
///
/// # Errors
/// A refusal that repeating does not change, or a shop that does not answer.
pub async fn prepare(clients: &Clients, baskets: &Baskets) -> Result<Shelf> {
    let shelf = stock_shelf(clients, baskets).await?;
    let needs = baskets.needs(&shelf.prices);
    let users = stream::iter(1..=USERS)
        .map(|user| {
            let need = needs.get(&user).copied().unwrap_or_default();
            async move { fund(clients, baskets, user, need).await }
        })
        .buffer_unordered(AT_ONCE);
    users.try_collect::<()>().await?;
    Ok(shelf)
}

async fn stock_shelf(clients: &Clients, baskets: &Baskets) -> Result<Shelf> {
    let mut known = products_by_name(clients, baskets).await?;
    let mut shelf = Shelf { ids: Vec::new(), prices: Vec::new() };
    // One after the other, so that ids follow the file's order and ties in the ranking are the same everywhere.
    for name in &baskets.names {
        let product = match known.remove(name) {
            Some(product) => product,
            None => create(clients, name).await?,
        };
        shelf.ids.push(product.product_id);
        shelf.prices.push(product.price_won);
    }
    let deliveries = shelf.ids.iter().zip(&baskets.names).zip(baskets.units());
    let deliveries = stream::iter(deliveries)
        .map(|((id, name), units)| async move {
            let request = AdjustStockRequest {
                request_id: baskets.setup_id("stock", &[name.as_bytes()]),
                product_id: *id,
                delta: units,
                reason: "replay".to_owned(),
            };
            patiently(PATIENCE, async || {
                clients.product_admin.clone().adjust_stock(request.clone()).await
            })
            .await
            .map_err(|status| told(&status))
            .with_context(|| format!("stocking {name:?}"))
        })
        .buffer_unordered(AT_ONCE);
    deliveries.map_ok(drop).try_collect::<()>().await?;
    Ok(shelf)
}

/// The shop's products that the baskets name. Of several with one name, the oldest.
async fn products_by_name(
    clients: &Clients,
    baskets: &Baskets,
) -> Result<BTreeMap<String, Product>> {
    let wanted: BTreeSet<&str> = baskets.names.iter().map(String::as_str).collect();
    let mut found = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListProductsRequest { page_size: PAGE, page_token, ..Default::default() };
        let page = patiently(PATIENCE, async || {
            clients.products.clone().list_products(request.clone()).await
        })
        .await
        .map_err(|status| told(&status))
        .context("listing the products")?
        .into_inner();
        for product in page.products {
            if wanted.contains(product.name.as_str()) {
                found.entry(product.name.clone()).or_insert(product);
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

async fn create(clients: &Clients, name: &str) -> Result<Product> {
    let request = CreateProductRequest {
        request_id: request_id("product", &[name.as_bytes()]),
        name: name.to_owned(),
        price_won: price(name),
        stock: 0,
    };
    let made = patiently(PATIENCE, async || {
        clients.product_admin.clone().create_product(request.clone()).await
    })
    .await
    .map_err(|status| told(&status))
    .with_context(|| format!("creating {name:?}"))?;
    made.into_inner().product.with_context(|| format!("no product in the answer for {name:?}"))
}

/// Gives a user a wallet, and the money for his baskets.
async fn fund(clients: &Clients, baskets: &Baskets, user: i64, need: i64) -> Result<()> {
    let request = CreateWalletRequest {
        request_id: request_id("wallet", &[&user.to_be_bytes()]),
        user_id: user,
    };
    let made =
        patiently(PATIENCE, async || clients.wallets.clone().create_wallet(request.clone()).await)
            .await;
    match made {
        Err(status) if reason(&status) != Some(Reason::WalletAlreadyExists) => {
            return Err(told(&status))
                .with_context(|| format!("creating the wallet of user {user}"));
        }
        _ => {}
    }
    for (number, amount) in (0_i64..).zip(charges(need)) {
        // The amount is part of the id: where prices have changed since, the need is another one.
        let parts = [user, need, number].map(i64::to_be_bytes);
        let [user_part, need_part, number_part] = &parts;
        let request = ChargeWalletRequest {
            request_id: baskets.setup_id("charge", &[user_part, need_part, number_part]),
            user_id: user,
            amount_won: amount,
        };
        patiently(PATIENCE, async || clients.wallets.clone().charge_wallet(request.clone()).await)
            .await
            .map_err(|status| told(&status))
            .with_context(|| format!("charging the wallet of user {user}"))?;
    }
    Ok(())
}

/// Charges, each within its bounds, that bring at least `need`.
fn charges(need: i64) -> impl Iterator<Item = i64> {
    let mut left = need;
    std::iter::from_fn(move || {
        (left > 0).then(|| {
            let amount = left.clamp(LEAST_CHARGE, MOST_CHARGE);
            left -= amount;
            amount
        })
    })
}

fn reason(status: &Status) -> Option<Reason> {
    Refusal::from_status(status).map(|refusal| refusal.reason)
}

/// An error as the shop told it.
fn told(status: &Status) -> anyhow::Error {
    match reason(status) {
        Some(reason) => anyhow::anyhow!("{reason}: {}", status.message()),
        None => anyhow::anyhow!("{:?}: {}", status.code(), status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_bring_what_is_needed_within_their_bounds() {
        for need in [0, 1, 999, 1_000, 1_000_000_000, 1_000_000_001, 3_000_000_500] {
            let amounts: Vec<_> = charges(need).collect();
            assert!(amounts.iter().all(|won| (1_000..=1_000_000_000).contains(won)), "{need}");
            let sum: i64 = amounts.iter().sum();
            assert!((need..need + 1_000).contains(&sum), "{need}: {sum}");
        }
    }
}
