//! The shop's participants under the rules of the participant contract, as the command line checks them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use std::path::Path;
use testkit::{Coupon, Shop};
use tokio::process::Command;

/// Runs `commerce conformance` against a participant; what it prints, one JSON value a line.
async fn conformance(shop: &Shop, participant: &str, payloads: &Path) -> (bool, Vec<Value>) {
    let address = shop.listening().participant.unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_commerce"))
        .args(["--json", "conformance", &address, "--participant", participant, "--payloads"])
        .arg(payloads)
        .output()
        .await
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), lines)
}

fn line(product_id: i64, quantity: i64) -> Value {
    json!({ "product_id": product_id, "quantity": quantity })
}

/// An order that one product makes up, without a coupon.
fn order(user_id: i64, product_id: i64) -> Value {
    json!({
        "order_id": "$n",
        "user_id": user_id,
        "placed_at": "2026-11-28T00:00:00Z",
        "lines": [{ "product_id": product_id, "quantity": 1, "unit_price_won": 1_000 }],
        "total_won": 1_000,
        "discount_won": 0,
        "paid_won": 1_000,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_participant_of_the_shop_keeps_the_contract() {
    let shop = Shop::start().await;
    let rich = shop.user(1_000_000_000).await;
    let product = shop.product(1_000, 1_000_000).await;
    let placed_at = "2026-11-28T00:00:00Z";
    let payloads = json!({
        "commerce.wallet.v1.WalletParticipantService/DebitWallet": {
            "done": { "order_id": "$n", "user_id": rich, "amount_won": 1, "placed_at": placed_at },
            "rejected": {
                "order_id": "$n", "user_id": rich, "amount_won": 999_999_999_999_i64, "placed_at": placed_at,
            },
        },
        "commerce.wallet.v1.WalletParticipantService/RefundWallet": {
            "done": { "order_id": "$n", "user_id": rich, "amount_won": 1 },
        },
        "commerce.product.v1.ProductParticipantService/ReserveStock": {
            "done": {
                "order_id": "$n", "user_id": rich, "placed_at": placed_at, "lines": [line(product, 1)],
            },
            "rejected": {
                "order_id": "$n", "user_id": rich, "placed_at": placed_at,
                "lines": [line(product + 1_000_000, 1)],
            },
        },
        "commerce.product.v1.ProductParticipantService/RestockProducts": {
            "done": { "order_id": "$n", "lines": [line(product, 1)] },
        },
        "commerce.order.v1.OrderParticipantService/ConfirmOrder": { "done": order(rich, product) },
        "commerce.order.v1.OrderParticipantService/BeginCancel": {
            "before": [{
                "method": "commerce.order.v1.OrderParticipantService/ConfirmOrder",
                "payload": order(rich, product),
            }],
            "done": { "order_id": "$n", "user_id": rich },
            "rejected": { "order_id": "$n", "user_id": rich },
        },
        "commerce.coupon.v1.CouponParticipantService/RedeemCoupon": {
            "done": redemptions(&shop).await,
            "rejected": {
                "order_id": "$n", "user_id": rich, "coupon_id": 987_654_321, "placed_at": placed_at,
                "total_won": 1_000,
            },
        },
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payloads.json");
    std::fs::write(&file, payloads.to_string()).unwrap();
    for participant in api::participants::ALL {
        let (passed, lines) = conformance(&shop, participant.name, &file).await;
        let broken: Vec<_> = lines.iter().filter(|line| line["broken"].is_string()).collect();
        assert!(passed && broken.is_empty(), "{}: {broken:#?}", participant.name);
        let checked = lines.iter().filter(|line| line.get("rule").is_some()).count();
        assert!(checked > 10, "{}: {checked} rules", participant.name);
    }
    shop.stop().await;
}

/// A coupon for each saga: more users than there are sagas.
async fn redemptions(shop: &Shop) -> Vec<Value> {
    let coupon_id = shop.coupon(Coupon::fixed(100).quota(1_000)).await;
    let now = chrono::Utc::now().to_rfc3339();
    let mut all = Vec::new();
    for user_id in shop.users(100).await {
        shop.issued(user_id, coupon_id).await;
        all.push(json!({
            "order_id": "$n", "user_id": user_id, "coupon_id": coupon_id,
            "placed_at": now, "total_won": 1_000,
        }));
    }
    all
}
