//! Coupons made, lost or moved.

use crate::bench::Corruption;
use crate::history::History;

pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let History { coupon, issued, user, with_coupon, .. } = history;
    let campaign = format!("coupon {coupon}");
    let held = format!("issued coupon {issued}");
    let order = format!("order {}", with_coupon.order);
    let event = |version: i64| format!("issued_coupon {issued} version {version}");
    let call = format!("coupon {coupon} part {issued} call 2");
    vec![
        Corruption::new(
            "coupon.coupon",
            "one more issued",
            format!("UPDATE coupon SET issued = issued + 1 WHERE id = {coupon}"),
        )
        .breaks("coupon-quota", &campaign),
        Corruption::new(
            "coupon.coupon",
            "a larger quota",
            format!("UPDATE coupon SET quota = quota + 1 WHERE id = {coupon}"),
        )
        .breaks("coupon-requests", format!("coupon {coupon} part 0 call 1"))
        .breaks("coupon-events", format!("coupon {coupon} version 1")),
        Corruption::new(
            "coupon.coupon",
            "removed",
            format!("DELETE FROM coupon WHERE id = {coupon}"),
        )
        .breaks("coupon-quota", &campaign)
        .breaks("coupon-states", &held)
        .breaks("coupon-requests", format!("coupon {coupon} part 0 call 1"))
        .breaks("coupon-events", format!("coupon {coupon} version 1")),
        Corruption::new(
            "coupon.issued_coupon",
            "made usable again",
            format!("UPDATE issued_coupon SET state = 1, order_id = NULL WHERE id = {issued}"),
        )
        .breaks("coupon-steps", &held)
        .breaks("coupon-events", event(2))
        .breaks("coupon-orders", &order),
        Corruption::new(
            "coupon.issued_coupon",
            "a day longer valid",
            format!(
                "UPDATE issued_coupon SET valid_until = valid_until + INTERVAL 1 DAY \
                WHERE id = {issued}"
            ),
        )
        .breaks("coupon-states", &held),
        Corruption::new(
            "coupon.issued_coupon",
            "removed",
            format!("DELETE FROM issued_coupon WHERE id = {issued}"),
        )
        .breaks("coupon-quota", &campaign)
        .breaks("coupon-steps", &held)
        .breaks("coupon-requests", &call)
        .breaks("coupon-events", event(1))
        .breaks("coupon-orders", &order),
        Corruption::new(
            "coupon.issued_coupon",
            "doubled",
            format!(
                "INSERT INTO issued_coupon SELECT 50, coupon_id, 999999, 99, 1, NULL, 1, \
                issued_at, valid_from, valid_until FROM issued_coupon WHERE id = {issued}"
            ),
        )
        .breaks("coupon-quota", &campaign)
        .breaks("coupon-requests", format!("coupon {coupon} part 50 call 2"))
        .breaks("coupon-events", "issued_coupon 50 version 1"),
        Corruption::new(
            "coupon.issued_coupon",
            "another number",
            format!("UPDATE issued_coupon SET sequence = 99 WHERE id = {issued}"),
        )
        .breaks("coupon-quota", &campaign)
        .breaks("coupon-requests", &call)
        .breaks("coupon-events", event(1)),
        Corruption::new(
            "coupon.idempotency",
            "removed",
            format!(
                "DELETE FROM idempotency WHERE method = 2 AND subject = '{user}' AND refused = 0"
            ),
        )
        .breaks("coupon-requests", &call),
        Corruption::new(
            "coupon.idempotency",
            "doubled",
            format!(
                "INSERT INTO idempotency SELECT X'00000000000040008000000000000001', subject, \
                method, request_hash, refused, reply, created_at FROM idempotency \
                WHERE method = 2 AND subject = '{user}' AND refused = 0"
            ),
        )
        .breaks("coupon-requests", &call),
        Corruption::new(
            "coupon.idempotency",
            "altered",
            format!(
                "UPDATE idempotency SET request_id = X'00000000000040008000000000000001', \
                reply = X'FF' WHERE method = 2 AND subject = '{user}' AND refused = 1"
            ),
        )
        .breaks(
            "coupon-requests",
            format!("request 00000000-0000-4000-8000-000000000001 of user {user} call 2"),
        ),
        Corruption::new(
            "coupon.id_block",
            "set back",
            "UPDATE id_block SET next_id = 1 WHERE name = 'issued_coupon'",
        )
        .breaks("coupon-ids", "id block issued_coupon"),
    ]
}
