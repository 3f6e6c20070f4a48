-- allowed: sorts the lines of a page of orders, a hundred an order at most
SELECT order_id, product_id, line, quantity, unit_price
    FROM order_line
    WHERE order_id IN (5000, 5001)
    ORDER BY order_id, line;
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE ((((user_id = 5000 AND (placed_at < '2026-11-07 00:00:00' OR (placed_at = '2026-11-07 00:00:00' AND id < 900000))) AND state = 1) AND placed_at >= '2026-11-05 00:00:00') AND placed_at < '2026-11-08 00:00:00')
    ORDER BY placed_at DESC, id DESC LIMIT 100;
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE (((user_id = 5000 AND (placed_at < '2026-11-07 00:00:00' OR (placed_at = '2026-11-07 00:00:00' AND id < 900000))) AND placed_at >= '2026-11-05 00:00:00') AND placed_at < '2026-11-08 00:00:00')
    ORDER BY placed_at DESC, id DESC LIMIT 100;
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE ((user_id = 5000 AND (placed_at < '2026-11-07 00:00:00' OR (placed_at = '2026-11-07 00:00:00' AND id < 900000))) AND state = 1)
    ORDER BY placed_at DESC, id DESC LIMIT 100;
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE (id = 5000 AND user_id = 5000);
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE (user_id = 5000 AND (placed_at < '2026-11-07 00:00:00' OR (placed_at = '2026-11-07 00:00:00' AND id < 900000)))
    ORDER BY placed_at DESC, id DESC LIMIT 100;
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE id IN (1, 2)
    ORDER BY id FOR UPDATE;
SELECT id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id, version, placed_at, cancelled_at
    FROM orders
    WHERE id IN (1, 2)
    ORDER BY id FOR UPDATE NOWAIT;
