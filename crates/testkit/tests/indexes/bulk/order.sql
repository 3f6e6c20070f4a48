-- A million orders by a hundred thousand users, of two lines each.
INSERT INTO orders (id, user_id, state, saga_id, cancel_saga_id, total, discount, paid, coupon_id, issued_coupon_id,
        version, placed_at, cancelled_at)
    SELECT seq, 1 + seq * 7919 % 100000, IF(seq % 20 = 0, 3, 1), UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), IF(seq % 20 = 0, UNHEX(CONCAT('0193', LPAD(HEX(seq + 10000000), 28, '0'))), NULL),
        2000, 0, 2000, IF(seq % 10 = 0, 1 + seq % 500, NULL), IF(seq % 10 = 0, seq, NULL), 1,
        TIMESTAMP('2026-11-01') + INTERVAL seq SECOND, IF(seq % 20 = 0, TIMESTAMP('2026-11-02') + INTERVAL seq SECOND, NULL)
    FROM seq_1_to_1000000;

INSERT INTO order_line (order_id, product_id, line, quantity, unit_price)
    SELECT 1 + (seq - 1) DIV 2, 1 + seq * 31 % 100000, 1 + (seq - 1) % 2, 1, 1000 FROM seq_1_to_2000000;

-- In every participant's schema.
INSERT INTO saga_op (saga_id, step, state, request_hash, reply, created_at)
    SELECT UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 20, 1 + (seq % 20 = 0) * 2, REPEAT('h', 8), REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_200000;

INSERT INTO idempotency (request_id, subject, method, request_hash, refused, reply, created_at)
    SELECT UNHEX(MD5(seq)), seq % 100000, 1 + seq % 3, REPEAT('h', 8), seq % 50 = 0, REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_1000;

-- Numbered and published, but for the last hundred.
INSERT INTO outbox (shard, position, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at,
        trace_id, traceparent, payload)
    SELECT seq % 16, IF(seq > 200000 - 100, NULL, 1 + seq DIV 16), UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 'OrderConfirmed', 'orderconfirmed', seq, 1, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND,
        '', '', REPEAT('p', 60)
    FROM seq_1_to_200000;

UPDATE outbox_shard SET last_position = 200000 DIV 16 - 10, published_position = 200000 DIV 16 - 20;
