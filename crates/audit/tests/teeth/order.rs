//! Orders and lines made, lost or changed.

use crate::bench::Corruption;
use crate::history::History;

pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let History { issued, product, other, plain, with_coupon, cancel, .. } = history;
    let order = format!("order {}", plain.order);
    let event = format!("{order} version 1");
    let ranked = format!("product {other}");
    let line = format!("order_id = {} AND product_id = {other}", plain.order);
    vec![
        Corruption::new(
            "order.orders",
            "a won less paid",
            format!("UPDATE orders SET paid = paid - 1 WHERE id = {}", plain.order),
        )
        .breaks("order-totals", &order)
        .breaks("order-steps", &plain.name)
        .breaks("order-events", &event)
        .breaks("activity-orders", &event)
        .breaks("checkout-stands", &plain.name),
        Corruption::new(
            "order.orders",
            "a discount that no coupon gave",
            format!(
                "UPDATE orders SET paid = paid - 1, discount = discount + 1 WHERE id = {}",
                plain.order
            ),
        )
        .breaks("order-totals", &order)
        .breaks("order-steps", &plain.name)
        .breaks("order-events", &event)
        .breaks("activity-orders", &event)
        .breaks("checkout-stands", &plain.name),
        Corruption::new(
            "order.orders",
            "removed",
            format!("DELETE FROM orders WHERE id = {}", plain.order),
        )
        .breaks("order-totals", &order)
        .breaks("order-steps", &plain.name)
        .breaks("order-events", &event)
        .breaks("activity-orders", &event)
        .breaks("checkout-stands", &plain.name)
        .breaks("ranking-count", &ranked),
        Corruption::new(
            "order.orders",
            "doubled",
            format!(
                "INSERT INTO orders SELECT 999999, user_id, state, saga_id, cancel_saga_id, \
                total, discount, paid, coupon_id, issued_coupon_id, version, NOW(6), \
                cancelled_at FROM orders WHERE id = {}",
                plain.order
            ),
        )
        .breaks("order-totals", "order 999999")
        .breaks("order-steps", &plain.name)
        .breaks("order-events", "order 999999 version 1")
        .breaks("activity-orders", "order 999999 version 1"),
        Corruption::new(
            "order.orders",
            "cancelled by nobody",
            format!("UPDATE orders SET state = 3 WHERE id = {}", with_coupon.order),
        )
        .breaks("order-totals", format!("order {}", with_coupon.order))
        .breaks("order-events", format!("order {} version 1", with_coupon.order))
        .breaks("activity-orders", format!("order {} version 1", with_coupon.order))
        .breaks("coupon-orders", format!("order {}", with_coupon.order))
        .breaks("ranking-count", format!("product {product}")),
        Corruption::new(
            "order.orders",
            "no longer cancelled",
            format!(
                "UPDATE orders SET state = 1, version = 1, cancel_saga_id = NULL, \
                cancelled_at = NULL WHERE id = {}",
                cancel.order
            ),
        )
        .breaks("order-steps", &cancel.name)
        .breaks("order-events", format!("order {} version 3", cancel.order))
        .breaks("activity-orders", format!("order {} version 3", cancel.order))
        .breaks("cancel-stands", &cancel.name)
        .breaks("coupon-steps", format!("issued coupon {}", issued + 1))
        .breaks("coupon-orders", format!("order {}", cancel.order))
        .breaks("ranking-count", format!("product {product}")),
        Corruption::new(
            "order.order_line",
            "a unit added",
            format!("UPDATE order_line SET quantity = quantity + 1 WHERE {line}"),
        )
        .breaks("order-totals", &order)
        .breaks("order-steps", &plain.name)
        .breaks("order-events", &event)
        .breaks("checkout-stands", &plain.name),
        Corruption::new(
            "order.order_line",
            "removed",
            format!("DELETE FROM order_line WHERE {line}"),
        )
        .breaks("order-totals", &order)
        .breaks("order-steps", &plain.name)
        .breaks("order-events", &event)
        .breaks("checkout-stands", &plain.name)
        .breaks("ranking-count", &ranked),
        Corruption::new(
            "order.order_line",
            "doubled",
            format!(
                "INSERT INTO order_line SELECT order_id, 999, 3, quantity, unit_price \
                FROM order_line WHERE {line}"
            ),
        )
        .breaks("order-totals", &order)
        .breaks("order-steps", &plain.name)
        .breaks("order-events", &event)
        .breaks("checkout-stands", &plain.name)
        .breaks("ranking-count", "product 999"),
        Corruption::new(
            "order.idempotency",
            "made",
            "INSERT INTO idempotency VALUES (X'00000000000040008000000000000001', '1', 1, \
            X'0000000000000000', 0, X'', NOW(6))",
        )
        .breaks("order-requests", "request 00000000-0000-4000-8000-000000000001 of user 1 call 1"),
    ]
}
