SELECT request_id, subject, method, request_hash, refused, reply
    FROM idempotency
    WHERE request_id IN (X'c4ca4238a0b923820dcc509a6f75849b', X'c81e728d9d4c2f636f067f89cc14862c');
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND kind = 2
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND created_at >= '2026-11-01 00:00:00'
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND created_at < '2026-11-05 00:00:00'
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND kind = 2 AND created_at >= '2026-11-01 00:00:00'
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND kind = 2 AND created_at < '2026-11-05 00:00:00'
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND created_at >= '2026-11-01 00:00:00' AND created_at < '2026-11-05 00:00:00'
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, seq, kind, amount, balance_after, order_id, saga_id, created_at
    FROM ledger
    WHERE user_id = 5000 AND seq < 12000 AND seq >= 2000 AND kind = 2 AND created_at >= '2026-11-01 00:00:00' AND created_at < '2026-11-05 00:00:00'
    ORDER BY seq DESC LIMIT 100;
SELECT user_id, balance, version, created_at FROM wallet WHERE user_id = 5000 LIMIT 100;
SELECT user_id, balance, version, created_at
    FROM wallet
    WHERE user_id IN (5000, 5001)
    ORDER BY user_id FOR UPDATE;
SELECT user_id, balance, version, created_at
    FROM wallet
    WHERE user_id IN (5000, 5001)
    ORDER BY user_id FOR UPDATE NOWAIT;
UPDATE saga_op SET state = 1
    WHERE ((saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389') AND step = 1) AND state = 1);
