-- Thirty days of the log, and the positions of both sources.
ALTER TABLE activity_log REORGANIZE PARTITION late INTO (
    PARTITION d20261110 VALUES LESS THAN ('2026-11-11'),
    PARTITION d20261120 VALUES LESS THAN ('2026-11-21'),
    PARTITION d20261130 VALUES LESS THAN ('2026-12-01'),
    PARTITION late VALUES LESS THAN (MAXVALUE));

INSERT INTO activity_log (occurred_at, event_id, source, event_type, kind, version, user_id, order_id, amount, balance_after,
        total, paid, trace_id, payload)
    SELECT TIMESTAMP('2026-11-01') + INTERVAL seq * 2 SECOND, UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), IF(seq % 2 = 0, 'order', 'wallet'),
        IF(seq % 2 = 0, 'commerce.order.v1.OrderConfirmed', 'commerce.wallet.v1.WalletDebited'), IF(seq % 2 = 0, 'ORDER', 'USE'), 1, 1 + seq % 100000, seq, 1000, 1000,
        1000, 1000, '', REPEAT('p', 60)
    FROM seq_1_to_1000000;

INSERT INTO consumer_position (source, shard, position, complete_from)
    SELECT 'wallet', seq, 1000, TIMESTAMP('2026-11-01') FROM seq_0_to_15
    UNION ALL SELECT 'order', seq, 1000, TIMESTAMP('2026-11-01') FROM seq_0_to_15;
