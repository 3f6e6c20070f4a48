//! Units made, lost or moved.

use crate::bench::Corruption;
use crate::history::History;

pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let History { product, other, plain, .. } = history;
    let name = format!("product {product}");
    let reserved = format!("reservation {} version 1", plain.order);
    let call = |part: i64, method: i64| format!("product {other} part {part} call {method}");
    let of_plain = format!("saga_id = {} AND product_id = {product}", plain.hex);
    vec![
        Corruption::new(
            "product.product",
            "a unit added",
            format!("UPDATE product SET stock = stock + 1 WHERE id = {product}"),
        )
        .breaks("product-stock", &name),
        Corruption::new(
            "product.product",
            "another price",
            format!("UPDATE product SET price = price + 1 WHERE id = {product}"),
        )
        .breaks("product-events", format!("{name} version 1")),
        Corruption::new(
            "product.product",
            "a version that nobody asked for",
            format!("UPDATE product SET version = version + 1 WHERE id = {other}"),
        )
        .breaks("product-requests", call(3, 2))
        .breaks("product-events", format!("product {other} version 3")),
        Corruption::new(
            "product.product",
            "removed",
            format!("DELETE FROM product WHERE id = {product}"),
        )
        .breaks("product-stock", &name)
        .breaks("product-events", format!("{name} version 1")),
        Corruption::new(
            "product.product",
            "doubled",
            format!(
                "INSERT INTO product SELECT 50, name, price, 0, 0, version, NOW(6), NOW(6) \
                FROM product WHERE id = {product}"
            ),
        )
        .breaks("product-events", "product 50 version 1"),
        Corruption::new(
            "product.stock_movement",
            "a unit added",
            format!(
                "UPDATE stock_movement SET delta = delta + 1 WHERE product_id = {product} \
                AND seq = 1"
            ),
        )
        .breaks("product-stock", &name)
        .breaks("product-movements", format!("{name} movement 1"))
        .breaks("product-requests", format!("{name} part 0 call 1"))
        .breaks("product-events", format!("{name} version 1")),
        Corruption::new(
            "product.stock_movement",
            "removed",
            format!("DELETE FROM stock_movement WHERE {of_plain}"),
        )
        .breaks("product-stock", &name)
        .breaks("product-movements", format!("{name} movement 3"))
        .breaks("product-steps", &plain.name)
        .breaks("product-events", &reserved),
        Corruption::new(
            "product.stock_movement",
            "doubled",
            format!(
                "INSERT INTO stock_movement SELECT product_id, 99, kind, delta, stock_after, \
                order_id, saga_id, reason, NOW(6) FROM stock_movement WHERE {of_plain}"
            ),
        )
        .breaks("product-stock", &name)
        .breaks("product-movements", format!("{name} movement 99"))
        .breaks("product-steps", &plain.name)
        .breaks("product-events", &reserved),
        Corruption::new(
            "product.idempotency",
            "removed",
            "DELETE FROM idempotency WHERE method = 3",
        )
        .breaks("product-requests", call(3, 3)),
        Corruption::new(
            "product.idempotency",
            "doubled",
            "INSERT INTO idempotency SELECT X'00000000000040008000000000000001', subject, \
            method, request_hash, refused, reply, created_at FROM idempotency WHERE method = 2",
        )
        .breaks("product-requests", call(2, 2)),
        Corruption::new(
            "product.idempotency",
            "altered",
            "UPDATE idempotency SET refused = 1 WHERE method = 3",
        )
        .breaks("product-requests", call(3, 3)),
        Corruption::new("product.id_block", "set back", "UPDATE id_block SET next_id = 1")
            .breaks("product-ids", "id block product"),
    ]
}
