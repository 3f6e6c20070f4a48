-- A hundred thousand products with five movements each.
INSERT INTO product (id, name, price, stock, movements, version, created_at, updated_at)
    SELECT seq, CONCAT('product ', seq), 1000 + seq % 5000, 1000, 5, 1, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_100000;

INSERT INTO stock_movement (product_id, seq, kind, delta, stock_after, order_id, saga_id, reason, created_at)
    SELECT 1 + (seq - 1) DIV 5, 1 + (seq - 1) % 5, IF((seq - 1) % 5 = 0, 1, 3), -1, 1000,
        IF((seq - 1) % 5 = 0, NULL, seq), IF((seq - 1) % 5 = 0, NULL, UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0')))), NULL, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_500000;

-- In every participant's schema.
INSERT INTO saga_op (saga_id, step, state, request_hash, reply, created_at)
    SELECT UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 10, 1 + (seq % 20 = 0) * 2, REPEAT('h', 8), REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_200000;

INSERT INTO idempotency (request_id, subject, method, request_hash, refused, reply, created_at)
    SELECT UNHEX(MD5(seq)), seq % 100000, 1 + seq % 3, REPEAT('h', 8), seq % 50 = 0, REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_50000;

-- Numbered and published, but for the last hundred.
INSERT INTO outbox (shard, position, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at,
        trace_id, traceparent, payload)
    SELECT seq % 16, IF(seq > 100000 - 100, NULL, 1 + seq DIV 16), UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 'StockChanged', 'stockchanged', seq, 1, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND,
        '', '', REPEAT('p', 60)
    FROM seq_1_to_100000;

UPDATE outbox_shard SET last_position = 100000 DIV 16 - 10, published_position = 100000 DIV 16 - 20;
