//! Rows of the activity log made, lost or changed, and places where it never was.

use crate::bench::Corruption;
use crate::history::History;

pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let History { user, plain, cancel, .. } = history;
    let of_user =
        |version: i64| format!("source = 'wallet' AND user_id = {user} AND version = {version}");
    let of_order = |order: i64, version: i64| {
        format!("source = 'order' AND order_id = {order} AND version = {version}")
    };
    let entry = |version: i64| format!("wallet {user} version {version}");
    let order = |order: i64, version: i64| format!("order {order} version {version}");
    let log = |how, sql: String| Corruption::new("activity.activity_log", how, sql);
    let positions = |how, sql: &str| Corruption::new("activity.consumer_position", how, sql);
    let copied = |of: &str, condition: String| {
        format!(
            "INSERT INTO activity_log SELECT occurred_at, X'00000000000070008000000000000001', \
            {of}, trace_id, payload FROM activity_log WHERE {condition}"
        )
    };
    let same =
        "source, event_type, kind, version, user_id, order_id, amount, balance_after, total, paid";
    let of_nobody =
        "source, event_type, kind, version, 999999, order_id, amount, balance_after, total, paid";
    let set =
        |what: &str, condition: String| format!("UPDATE activity_log SET {what} WHERE {condition}");
    let removed = |condition: String| format!("DELETE FROM activity_log WHERE {condition}");
    vec![
        log("a charge removed", removed(of_user(1))).breaks("activity-ledger", entry(1)),
        log("a payment removed", removed(of_user(3))).breaks("activity-ledger", entry(3)),
        log("a row told twice", copied(same, of_user(3))).breaks("activity-ledger", entry(3)),
        log("a row for nobody", copied(of_nobody, of_user(1)))
            .breaks("activity-ledger", "wallet 999999 version 1"),
        log("a won added", set("amount = amount + 1", of_user(1)))
            .breaks("activity-ledger", entry(1)),
        log("another balance", set("balance_after = balance_after - 1", of_user(2)))
            .breaks("activity-ledger", entry(2)),
        log("another order paid", set("order_id = order_id + 1", of_user(3)))
            .breaks("activity-ledger", entry(3)),
        log("a payment called a charge", set("kind = 'CHARGE'", of_user(3)))
            .breaks("activity-ledger", entry(3)),
        log("an order removed", removed(of_order(plain.order, 1)))
            .breaks("activity-orders", order(plain.order, 1)),
        log("an order told twice", copied(same, of_order(plain.order, 1)))
            .breaks("activity-orders", order(plain.order, 1)),
        log("another's order", set("user_id = user_id + 1", of_order(plain.order, 1)))
            .breaks("activity-orders", order(plain.order, 1)),
        log("an order paid otherwise", set("paid = paid - 1", of_order(plain.order, 1)))
            .breaks("activity-orders", order(plain.order, 1)),
        log("a cancel removed", removed(of_order(cancel.order, 3)))
            .breaks("activity-orders", order(cancel.order, 3)),
        positions(
            "ahead of the outbox",
            "UPDATE consumer_position SET position = position + 1 WHERE source = 'wallet' AND shard = 5",
        )
        .breaks("activity-positions", "wallet shard 5"),
        positions(
            "a shard forgotten",
            "DELETE FROM consumer_position WHERE source = 'order' AND shard = 5",
        )
        .breaks("activity-positions", "order shard 5"),
    ]
}
