-- A hundred thousand wallets with ten entries each.
INSERT INTO wallet (user_id, balance, version, created_at)
    SELECT seq, 1000000, 10, TIMESTAMP('2026-11-01') FROM seq_1_to_100000;

INSERT INTO ledger (user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at)
    SELECT 1 + (seq - 1) DIV 10, 1 + (seq - 1) % 10, IF((seq - 1) % 10 = 0, 1, 2), 1000, 1000000,
        IF((seq - 1) % 10 = 0, NULL, seq), IF((seq - 1) % 10 = 0, NULL, UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0')))), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_1000000;

-- One wallet has a long ledger.
UPDATE wallet SET version = 30010 WHERE user_id = 5000;

INSERT INTO ledger (user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at)
    SELECT 5000, 10 + seq, 1, 1000, 1000000, NULL, NULL, TIMESTAMP('2026-11-01') + INTERVAL seq MINUTE
    FROM seq_1_to_30000;

-- In every participant's schema.
INSERT INTO saga_op (saga_id, step, state, request_hash, reply, created_at)
    SELECT UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 30, 1 + (seq % 20 = 0) * 2, REPEAT('h', 8), REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_200000;

INSERT INTO idempotency (request_id, subject, method, request_hash, refused, reply, created_at)
    SELECT UNHEX(MD5(seq)), seq % 100000, 1 + seq % 3, REPEAT('h', 8), seq % 50 = 0, REPEAT('r', 20), TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_100000;

-- Numbered and published, but for the last hundred.
INSERT INTO outbox (shard, position, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at,
        trace_id, traceparent, payload)
    SELECT seq % 16, IF(seq > 200000 - 100, NULL, 1 + seq DIV 16), UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 'commerce.wallet.v1.WalletDebited', 'wallet', seq, 1, TIMESTAMP('2026-11-01') + INTERVAL seq SECOND,
        '', '', REPEAT('p', 60)
    FROM seq_1_to_200000;

UPDATE outbox_shard SET last_position = 200000 DIV 16 - 10, published_position = 200000 DIV 16 - 20;
