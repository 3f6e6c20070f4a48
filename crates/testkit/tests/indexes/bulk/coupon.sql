-- A hundred thousand campaigns, and half a million coupons that were issued.
INSERT INTO coupon (id, name, discount_kind, discount_value, discount_cap, quota, issued, validity_days, issuable_from,
        issuable_until, cancel_policy, created_at)
    SELECT seq, CONCAT('coupon ', seq), 1, 10, 1000, 100000, 1000, 30, NULL, NULL, 1, TIMESTAMP('2026-11-01') + INTERVAL seq MINUTE
    FROM seq_1_to_100000;

INSERT INTO issued_coupon (id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until)
    SELECT seq, 1 + (seq - 1) DIV 1000, 1 + seq * 7919 % 100000, 1 + (seq - 1) % 1000, IF(seq % 10 = 0, 2, 1),
        IF(seq % 10 = 0, seq, NULL), 1, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND, DATE('2026-11-01'), DATE('2026-12-01')
    FROM seq_1_to_500000;

-- One user has many.
INSERT INTO issued_coupon (id, coupon_id, user_id, sequence, state, order_id, version, issued_at, valid_from, valid_until)
    SELECT 500000 + seq, 500 + seq, 5000, 1, IF(seq % 10 = 0, 2, 1), IF(seq % 10 = 0, seq, NULL), 1,
        TIMESTAMP('2026-11-01') + INTERVAL seq MINUTE, DATE('2026-11-01'), DATE('2026-12-01')
    FROM seq_1_to_20000;

-- In every participant's schema.
INSERT INTO saga_op (saga_id, step, state, request_hash, reply, created_at)
    SELECT UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 15, 1 + (seq % 20 = 0) * 2, REPEAT('h', 8), REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_100000;

INSERT INTO idempotency (request_id, subject, method, request_hash, refused, reply, created_at)
    SELECT UNHEX(MD5(seq)), seq % 100000, 1 + seq % 3, REPEAT('h', 8), seq % 50 = 0, REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_100000;

-- Numbered and published, but for the last hundred.
INSERT INTO outbox (shard, position, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at,
        trace_id, traceparent, payload)
    SELECT seq % 16, IF(seq > 100000 - 100, NULL, 1 + seq DIV 16), UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 'commerce.coupon.v1.CouponIssued', 'issued_coupon', seq, 1, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND,
        '', '', REPEAT('p', 60)
    FROM seq_1_to_100000;

UPDATE outbox_shard SET last_position = 100000 DIV 16 - 10, published_position = 100000 DIV 16 - 20;
