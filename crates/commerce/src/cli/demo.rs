//! One order, from the wallet to the best sellers, on a running shop.

use super::args::ConnectArgs;
use super::reach::Source;
use super::saga::time;
use super::{Context, Verdict};
use crate::clients::{Addresses, Clients, backoff, patiently};
use crate::output::{Output, Table, grouped, line};
use crate::shop::Running;
use anyhow::{Context as _, Result, bail};
use api::checkout::v1::{CheckoutLine, CheckoutState, PlaceOrderRequest, PlacedOrder};
use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{CancelPolicy, CreateCouponRequest, IssueCouponRequest, PercentDiscount};
use api::product::v1::CreateProductRequest;
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest, GetWalletRequest};
use rand::Rng;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);
const CHARGE: i64 = 100_000;
const PRODUCTS: [(&str, i64); 2] = [("whole milk", 2_400), ("rolls/buns", 1_150)];
const QUANTITIES: [i32; 2] = [2, 6];
const STOCK: i32 = 100;
const PERCENT: i32 = 10;

pub(super) async fn run(context: &Context, connect: &ConnectArgs) -> Result<Verdict> {
    let (origin, addresses) = find(context, connect)?;
    Source::of_shop(origin).check_all(&addresses).await?;
    let clients = Clients::new(&addresses, 1)?;
    let human = context.output == Output::Human;
    let say = |text: String| if human { line(text) } else { Ok(()) };

    // Far from the users of a replay, and hardly ever the same twice.
    let user_id = rand::rng().random_range(1_000_000_000..9_007_199_254_740_991);
    create_wallet(&clients, user_id).await?;
    say(format!("wallet    user {user_id}, charged with {} won", grouped(CHARGE)))?;
    let mut lines = Vec::new();
    for ((name, price), quantity) in PRODUCTS.into_iter().zip(QUANTITIES) {
        let product_id = create_product(&clients, name, price).await?;
        say(format!("product   {product_id}: {name}, {} won, {STOCK} in stock", grouped(price)))?;
        lines.push(CheckoutLine { product_id, quantity });
    }
    let coupon_id = issue_coupon(&clients, user_id).await?;
    say(format!("coupon    {coupon_id}: {PERCENT} % off, issued to the user"))?;

    let request = PlaceOrderRequest {
        request_id: Uuid::new_v4().to_string(),
        user_id,
        lines,
        coupon_id: Some(coupon_id),
        expected_total_won: None,
    };
    let (checkout_id, order) = place(&clients, &request).await?;
    let wallet = patiently(PATIENCE, async || {
        clients.wallets.clone().get_wallet(GetWalletRequest { user_id }).await
    });
    let wallet = wallet.await.map_err(|it| told("reading the wallet", &it))?.into_inner();
    let balance = wallet.wallet.context("a wallet in the answer")?.balance_won;
    if !human {
        line(json!({
            "user_id": user_id, "coupon_id": coupon_id, "checkout_id": checkout_id,
            "order_id": order.order_id, "total_won": order.total_won,
            "discount_won": order.discount_won, "paid_won": order.paid_won, "balance_won": balance,
        }))?;
        return Ok(Verdict::Good);
    }
    show(&checkout_id, &order, balance)?;
    show_next(&addresses, &order, &request, &checkout_id)?;
    Ok(Verdict::Good)
}

/// Where the shop is, and who says so.
fn find(context: &Context, connect: &ConnectArgs) -> Result<(&'static str, Addresses)> {
    if let Some(addresses) = Addresses::parse(&connect.connect)? {
        return Ok(("--connect", addresses));
    }
    if let Some(running) = Running::find(&context.config.data_dir)? {
        return Ok(("the shop of the data folder", running.addresses));
    }
    let listen = &context.config.listen;
    Ok(("listen.public", Addresses::at(listen.public.to_string(), listen.admin.to_string())))
}

async fn create_wallet(clients: &Clients, user_id: i64) -> Result<()> {
    let wallets = &clients.wallets;
    let request = CreateWalletRequest { request_id: Uuid::new_v4().to_string(), user_id };
    patiently(PATIENCE, async || wallets.clone().create_wallet(request.clone()).await)
        .await
        .map_err(|it| told("creating a wallet", &it))?;
    let request =
        ChargeWalletRequest { request_id: Uuid::new_v4().to_string(), user_id, amount_won: CHARGE };
    patiently(PATIENCE, async || wallets.clone().charge_wallet(request.clone()).await)
        .await
        .map_err(|it| told("charging the wallet", &it))?;
    Ok(())
}

async fn create_product(clients: &Clients, name: &str, price: i64) -> Result<i64> {
    let request = CreateProductRequest {
        request_id: Uuid::new_v4().to_string(),
        name: name.to_owned(),
        price_won: price,
        stock: STOCK,
    };
    let made = patiently(PATIENCE, async || {
        clients.product_admin.clone().create_product(request.clone()).await
    });
    let made = made.await.map_err(|it| told("creating a product", &it))?.into_inner();
    Ok(made.product.context("a product in the answer")?.product_id)
}

async fn issue_coupon(clients: &Clients, user_id: i64) -> Result<i64> {
    let percent = PercentDiscount { percent: PERCENT, max_amount_won: None };
    let request = CreateCouponRequest {
        request_id: Uuid::new_v4().to_string(),
        name: "Opening day".to_owned(),
        discount: Some(Discount::Percent(percent)),
        quota: 100,
        validity_days: 7,
        issuable_from: None,
        issuable_until: None,
        cancel_policy: CancelPolicy::Restore.into(),
    };
    let made = patiently(PATIENCE, async || {
        clients.coupon_admin.clone().create_coupon(request.clone()).await
    });
    let made = made.await.map_err(|it| told("creating a coupon", &it))?.into_inner();
    let coupon_id = made.coupon.context("a coupon in the answer")?.coupon_id;
    let request = IssueCouponRequest { request_id: Uuid::new_v4().to_string(), user_id, coupon_id };
    patiently(PATIENCE, async || clients.coupons.clone().issue_coupon(request.clone()).await)
        .await
        .map_err(|it| told("issuing the coupon", &it))?;
    Ok(coupon_id)
}

async fn place(clients: &Clients, request: &PlaceOrderRequest) -> Result<(String, PlacedOrder)> {
    let until = Instant::now() + PATIENCE;
    for attempt in 0.. {
        let answer = patiently(PATIENCE, async || {
            clients.checkout.clone().place_order(request.clone()).await
        });
        let answer = answer.await.map_err(|it| told("placing the order", &it))?.into_inner();
        match answer.order {
            Some(order) => return Ok((answer.checkout_id, order)),
            None if answer.state == i32::from(CheckoutState::Running) && Instant::now() < until => {
                tokio::time::sleep(backoff(attempt)).await;
            }
            None => break,
        }
    }
    bail!("the order is still running; ask GetCheckout")
}

fn told(what: &str, status: &Status) -> anyhow::Error {
    anyhow::anyhow!("{what}: {:?}: {}", status.code(), status.message())
}

fn show(checkout_id: &str, order: &PlacedOrder, balance: i64) -> Result<()> {
    line(format_args!("checkout  {checkout_id}: SUCCEEDED\n"))?;
    let mut table = Table::new(["product", "quantity", "unit price", "won"]);
    for it in &order.lines {
        let won = i64::from(it.quantity) * it.unit_price_won;
        table.row([
            it.product_id.to_string(),
            it.quantity.to_string(),
            grouped(it.unit_price_won),
            grouped(won),
        ]);
    }
    line(table)?;
    line(format_args!(
        "\norder {} of {}: total {} won, discount {}, paid {}; the wallet has {} left",
        order.order_id,
        order.created_at.map(time).unwrap_or_default(),
        grouped(order.total_won),
        grouped(order.discount_won),
        grouped(order.paid_won),
        grouped(balance)
    ))?;
    Ok(())
}

/// grpcurl lines to go on with.
fn show_next(
    addresses: &Addresses,
    order: &PlacedOrder,
    request: &PlaceOrderRequest,
    checkout_id: &str,
) -> Result<()> {
    let (user, order_id) = (request.user_id, order.order_id);
    let product = request.lines.first().map_or(1, |line| line.product_id);
    let again = json!({
        "request_id": Uuid::new_v4().to_string(),
        "user_id": user,
        "lines": [{ "product_id": product, "quantity": 1 }],
    });
    let cancel = json!({
        "request_id": Uuid::new_v4().to_string(),
        "user_id": user,
        "order_id": order_id,
    });
    line("\nGo on with grpcurl:\n")?;
    for (address, method, body) in [
        (
            &addresses.orchestrator,
            "checkout.v1.CheckoutService/GetCheckout",
            json!({ "checkout_id": checkout_id }),
        ),
        (&addresses.orchestrator, "checkout.v1.CheckoutService/PlaceOrder", again),
        (
            &addresses.wallet,
            "wallet.v1.WalletService/ListWalletTransactions",
            json!({ "user_id": user }),
        ),
        (&addresses.order, "order.v1.OrderService/ListOrders", json!({ "user_id": user })),
        (&addresses.ranking, "ranking.v1.RankingService/ListTopProducts", json!({})),
        (&addresses.orchestrator, "checkout.v1.CheckoutService/CancelOrder", cancel),
    ] {
        line(format_args!("  grpcurl -plaintext -d '{body}' {address} commerce.{method}"))?;
    }
    Ok(())
}
