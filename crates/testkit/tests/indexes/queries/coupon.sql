SELECT id, name, discount_kind, discount_value, discount_cap, quota, issued, validity_days, issuable_from, issuable_until, cancel_policy, created_at
    FROM coupon
    WHERE created_at < '2026-12-05 00:00:00' OR (created_at = '2026-12-05 00:00:00' AND id < 40000)
    ORDER BY created_at DESC, id DESC LIMIT 100;
SELECT id, name, discount_kind, discount_value, discount_cap, quota, issued, validity_days, issuable_from, issuable_until, cancel_policy, created_at
    FROM coupon
    WHERE id = 5000 LIMIT 100;
SELECT id, name, discount_kind, discount_value, discount_cap, quota, issued, validity_days, issuable_from, issuable_until, cancel_policy, created_at
    FROM coupon
    WHERE id IN (1, 2);
SELECT id, name, discount_kind, discount_value, discount_cap, quota, issued, validity_days, issuable_from, issuable_until, cancel_policy, created_at
    FROM coupon
    WHERE id IN (1, 2)
    ORDER BY id FOR UPDATE;
SELECT id, name, discount_kind, discount_value, discount_cap, quota, issued, validity_days, issuable_from, issuable_until, cancel_policy, created_at
    FROM coupon
    WHERE id IN (1, 2)
    ORDER BY id FOR UPDATE NOWAIT;
SELECT next_id FROM id_block WHERE name = 'product' LIMIT 100 FOR UPDATE;
SELECT request_id, subject, method, request_hash, refused, reply
    FROM idempotency
    WHERE request_id IN (X'c4ca4238a0b923820dcc509a6f75849b', X'c81e728d9d4c2f636f067f89cc14862c');
SELECT id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until
    FROM issued_coupon
    WHERE (coupon_id = 5000 AND user_id IN (5000, 5001))
    ORDER BY user_id FOR UPDATE;
SELECT id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until
    FROM issued_coupon
    WHERE (coupon_id = 5000 AND user_id IN (5000, 5001))
    ORDER BY user_id FOR UPDATE NOWAIT;
SELECT id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until
    FROM issued_coupon
    WHERE (user_id = 5000 AND (issued_at < '2026-11-08 00:00:00' OR (issued_at = '2026-11-05 00:00:00' AND id < 900000)))
    ORDER BY issued_at DESC, id DESC LIMIT 100;
SELECT user_id, issued_at
    FROM issued_coupon
    WHERE user_id = 5000 AND (issued_at < '2026-11-12 00:00:00' OR (issued_at = '2026-11-12 00:00:00' AND id < 900000))
    ORDER BY issued_at DESC, id DESC LIMIT 1 OFFSET 9999;
SELECT id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until
    FROM issued_coupon
    WHERE user_id = 5000 AND (issued_at < '2026-11-12 00:00:00' OR (issued_at = '2026-11-12 00:00:00' AND id < 900000)) AND state = 2
    ORDER BY issued_at DESC, id DESC LIMIT 100;
SELECT id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until
    FROM issued_coupon
    WHERE user_id = 5000 AND (issued_at < '2026-11-12 00:00:00' OR (issued_at = '2026-11-12 00:00:00' AND id < 900000)) AND state = 2 AND issued_at >= '2026-11-05 00:00:00'
    ORDER BY issued_at DESC, id DESC LIMIT 100;
SELECT id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until
    FROM issued_coupon
    WHERE id = 5000 LIMIT 100;
SELECT id, coupon_id, user_id FROM issued_coupon WHERE id IN (1, 2);
UPDATE id_block SET next_id = 5000 WHERE name = 'product';
UPDATE saga_op SET state = 1
    WHERE ((saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389') AND step = 1) AND state = 1);
