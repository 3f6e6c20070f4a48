//! Money made, lost or moved.

use crate::bench::Corruption;
use crate::history::History;

/// The user's ledger: 1 and 2 charges, 3 the plain order, 4 the order with a coupon.
pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let History { user, plain, with_coupon, .. } = history;
    let wallet = format!("wallet {user}");
    let entry = |seq: i64| format!("wallet {user} entry {seq}");
    let version = |version: i64| format!("wallet {user} version {version}");
    let call = |part: i64, method: i64| format!("wallet {user} part {part} call {method}");
    vec![
        Corruption::new(
            "wallet.wallet",
            "a won added",
            format!("UPDATE wallet SET balance = balance + 1 WHERE user_id = {user}"),
        )
        .breaks("wallet-balance", &wallet),
        Corruption::new(
            "wallet.wallet",
            "a version too many",
            format!("UPDATE wallet SET version = version + 1 WHERE user_id = {user}"),
        )
        .breaks("wallet-balance", &wallet),
        Corruption::new(
            "wallet.wallet",
            "removed",
            format!("DELETE FROM wallet WHERE user_id = {user}"),
        )
        .breaks("wallet-balance", &wallet)
        .breaks("wallet-requests", call(0, 1))
        .breaks("wallet-events", version(0))
        .breaks("activity-ledger", version(0)),
        Corruption::new(
            "wallet.wallet",
            "doubled for nobody",
            format!(
                "INSERT INTO wallet SELECT 999999, 0, 0, NOW(6) FROM wallet WHERE user_id = {user}"
            ),
        )
        .breaks("wallet-requests", "wallet 999999 part 0 call 1")
        .breaks("wallet-events", "wallet 999999 version 0")
        .breaks("activity-ledger", "wallet 999999 version 0"),
        Corruption::new(
            "wallet.ledger",
            "a won added",
            format!("UPDATE ledger SET amount = amount + 1 WHERE user_id = {user} AND seq = 1"),
        )
        .breaks("wallet-balance", &wallet)
        .breaks("wallet-ledger", entry(1))
        .breaks("wallet-requests", call(1, 2))
        .breaks("wallet-events", version(1))
        .breaks("activity-ledger", version(1)),
        Corruption::new(
            "wallet.ledger",
            "removed",
            format!("DELETE FROM ledger WHERE user_id = {user} AND seq = 3"),
        )
        .breaks("wallet-balance", &wallet)
        .breaks("wallet-ledger", entry(4))
        .breaks("wallet-steps", &plain.name)
        .breaks("wallet-events", version(3))
        .breaks("activity-ledger", version(3)),
        Corruption::new(
            "wallet.ledger",
            "doubled",
            format!(
                "INSERT INTO ledger SELECT user_id, 5, kind, amount, balance_after, order_id, \
                saga_id, NOW(6) FROM ledger WHERE user_id = {user} AND seq = 4"
            ),
        )
        .breaks("wallet-balance", &wallet)
        .breaks("wallet-ledger", entry(5))
        .breaks("wallet-steps", &with_coupon.name)
        .breaks("wallet-events", version(5))
        .breaks("activity-ledger", version(5)),
        Corruption::new(
            "wallet.ledger",
            "a charge that nobody asked for, booked as it should be",
            format!(
                "INSERT INTO ledger SELECT user_id, 5, 1, 7000, balance + 7000, NULL, NULL, \
                NOW(6) FROM wallet WHERE user_id = {user}; \
                UPDATE wallet SET balance = balance + 7000, version = 5 WHERE user_id = {user}"
            ),
        )
        .and("wallet.wallet")
        .breaks("wallet-requests", call(5, 2))
        .breaks("wallet-events", version(5))
        .breaks("activity-ledger", version(5)),
        Corruption::new(
            "wallet.ledger",
            "another order named",
            format!("UPDATE ledger SET order_id = 1 + order_id WHERE user_id = {user} AND seq = 3"),
        )
        .breaks("wallet-steps", &plain.name)
        .breaks("wallet-events", version(3))
        .breaks("activity-ledger", version(3)),
        Corruption::new(
            "wallet.idempotency",
            "removed",
            format!("DELETE FROM idempotency WHERE subject = '{user}' AND method = 1"),
        )
        .breaks("wallet-requests", call(0, 1)),
        Corruption::new(
            "wallet.idempotency",
            "doubled",
            format!(
                "INSERT INTO idempotency SELECT X'00000000000040008000000000000001', subject, \
                method, request_hash, refused, reply, created_at FROM idempotency \
                WHERE subject = '{user}' AND method = 1"
            ),
        )
        .breaks("wallet-requests", call(0, 1)),
        Corruption::new(
            "wallet.idempotency",
            "altered",
            format!(
                "UPDATE idempotency SET request_id = X'00000000000040008000000000000001', \
                reply = X'FF' WHERE subject = '{user}' AND method = 1"
            ),
        )
        .breaks(
            "wallet-requests",
            format!("request 00000000-0000-4000-8000-000000000001 of user {user} call 1"),
        ),
    ]
}
