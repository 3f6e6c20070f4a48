-- The barrier, and request ids.
DELETE
    FROM saga_op
    WHERE (saga_id <= X'019300000000000000000000000003e8' AND saga_id <= X'019300000000000000000000000003e8');
SELECT watermark FROM saga_watermark WHERE id = 1 FOR UPDATE;
SELECT watermark FROM saga_watermark WHERE id = 1 LIMIT 100;
INSERT INTO saga_watermark (id, watermark)
    SELECT id, watermark FROM saga_watermark WHERE (id = 1 AND watermark >= X'019300000000000000000000000003e8');
SELECT saga_id, step, state, request_hash, reply, created_at
    FROM saga_op
    WHERE saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389')
    ORDER BY saga_id, step;
SELECT saga_id
    FROM saga_op
    WHERE saga_id <= X'019300000000000000000000000003e8'
    ORDER BY saga_id, step LIMIT 100 OFFSET 1000;
UPDATE saga_watermark SET watermark = X'019300000000000000000000000003e8' WHERE id = 1;
-- Lowering the watermark.
UPDATE saga_watermark SET watermark = X'019300000000000000000000000003e8' WHERE watermark > X'019300000000000000000000000003e8';
SELECT saga_id FROM saga_op WHERE saga_id <= X'019300000000000000000000000003e8' ORDER BY saga_id DESC, step DESC LIMIT 1;
SELECT request_id FROM idempotency WHERE request_id > X'c4ca4238a0b923820dcc509a6f75849b' ORDER BY request_id LIMIT 1 OFFSET 1000;
DELETE FROM idempotency
    WHERE request_id >= X'c4ca4238a0b923820dcc509a6f75849b' AND request_id <= X'c4cb4238a0b923820dcc509a6f75849b'
    AND refused = 1 AND created_at < '2026-11-05 00:00:00';
-- The outbox.
SELECT shard, last_position, published_position FROM outbox_shard WHERE shard IN (1, 2) FOR UPDATE NOWAIT;
SELECT s.shard, s.last_position, s.published_position,
    EXISTS(SELECT 1 FROM outbox o WHERE o.shard = s.shard AND o.position IS NULL) AS waiting
    FROM outbox_shard s;
SELECT CAST(COALESCE(SUM(s.last_position - s.published_position +
    (SELECT COUNT(*) FROM outbox o WHERE o.shard = s.shard AND o.position IS NULL)), 0) AS SIGNED) AS count
    FROM outbox_shard s;
SELECT s.shard, s.last_position AS `last`, (SELECT o.position FROM outbox o WHERE o.shard = s.shard AND o.position > 0
    ORDER BY o.position LIMIT 1) AS `first` FROM outbox_shard s;
(SELECT shard, id AS `key`, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at, trace_id, traceparent,
        payload FROM outbox WHERE shard = 3 AND position IS NULL ORDER BY id LIMIT 100)
    UNION ALL (SELECT shard, id AS `key`, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at, trace_id, traceparent,
        payload FROM outbox WHERE shard = 4 AND position IS NULL ORDER BY id LIMIT 100);
(SELECT shard, position AS `key`, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at, trace_id, traceparent,
        payload FROM outbox WHERE shard = 3 AND position > 1000 ORDER BY position LIMIT 100)
    UNION ALL (SELECT shard, position AS `key`, event_id, event_type, aggregate_kind, aggregate_id, version, occurred_at, trace_id, traceparent,
        payload FROM outbox WHERE shard = 4 AND position > 1000 ORDER BY position LIMIT 100);
UPDATE outbox SET position = CASE shard WHEN 3 THEN 5000 + (INTERVAL(id, 5000, 5001)) END
    WHERE id IN (5000, 5001) AND position IS NULL;
UPDATE outbox_shard
    SET last_position = CASE shard WHEN 1 THEN 5 END, published_position = CASE shard WHEN 1 THEN 5 END
    WHERE shard IN (1, 2) AND last_position = CASE shard WHEN 1 THEN 4 END;
DELETE FROM outbox WHERE shard = 3 AND position <= 10;
SELECT position, occurred_at FROM outbox WHERE shard = 3 AND position <= 1000 ORDER BY position LIMIT 1000;
-- Held relays.
SELECT shard FROM outbox_shard ORDER BY shard FOR UPDATE;
SELECT CAST(SUM(published_position) AS SIGNED) AS sum FROM outbox_shard;
SELECT id, event_type, payload FROM outbox WHERE position IS NULL AND id > 5000 ORDER BY id LIMIT 1000;
