SELECT next_id FROM id_block WHERE name = 'product' LIMIT 100 FOR UPDATE;
SELECT request_id, subject, method, request_hash, refused, reply
    FROM idempotency
    WHERE request_id IN (X'c4ca4238a0b923820dcc509a6f75849b', X'c81e728d9d4c2f636f067f89cc14862c');
SELECT id, name, price, stock, movements, version, created_at, updated_at
    FROM product
    WHERE (created_at > '2026-11-02 00:00:00' OR (created_at = '2026-11-02 00:00:00' AND id > 1))
    ORDER BY created_at, id LIMIT 100;
-- A search for a text in names: where it stops looking, and what it finds up to there.
SELECT created_at, id
    FROM product
    WHERE (created_at > '2026-11-01 05:00:00' OR (created_at = '2026-11-01 05:00:00' AND id > 1))
    ORDER BY created_at, id LIMIT 1 OFFSET 9999;
SELECT id, name, price, stock, movements, version, created_at, updated_at
    FROM product
    WHERE (((created_at > '2026-11-01 05:00:00' OR (created_at = '2026-11-01 05:00:00' AND id > 1))
        AND (created_at < '2026-11-01 07:46:39' OR (created_at = '2026-11-01 07:46:39' AND id <= 27999)))
        AND (LOCATE(UPPER('tea' COLLATE utf8mb4_bin), UPPER(name)) > 0))
    ORDER BY created_at, id LIMIT 100;
SELECT id, name, price, stock, movements, version, created_at, updated_at FROM product WHERE id IN (1, 2);
SELECT id, name, price, stock, movements, version, created_at, updated_at
    FROM product
    WHERE id IN (1, 2)
    ORDER BY id FOR UPDATE;
SELECT id, name, price, stock, movements, version, created_at, updated_at
    FROM product
    WHERE id IN (1, 2)
    ORDER BY id FOR UPDATE NOWAIT;
SELECT product_id, seq, kind, delta, stock_after, order_id, saga_id, reason, created_at
    FROM stock_movement
    WHERE (product_id = 5000 AND seq < 5000)
    ORDER BY seq DESC LIMIT 100;
UPDATE id_block SET next_id = 5000 WHERE name = 'product';
UPDATE saga_op SET state = 1
    WHERE ((saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389') AND step = 1) AND state = 1);
