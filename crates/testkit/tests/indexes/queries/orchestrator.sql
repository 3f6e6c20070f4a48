DELETE FROM heartbeat WHERE owner = X'00000000000000000000000000000001';
SELECT beat FROM heartbeat WHERE owner = X'00000000000000000000000000000001' LIMIT 100 FOR UPDATE;
SELECT heartbeat.beat
    FROM heartbeat
    WHERE ((heartbeat.owner = X'00000000000000000000000000000001') AND (heartbeat.beat = 1)) FOR UPDATE nowait;
DELETE
    FROM request
    WHERE (request_id IN (X'c4ca4238a0b923820dcc509a6f75849b', X'c81e728d9d4c2f636f067f89cc14862c') AND saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389'));
DELETE FROM saga WHERE saga_id = X'019300000000000000000000000003e8';
DELETE FROM saga WHERE saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389');
DELETE
    FROM saga_history
    WHERE saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389');
SELECT owner, beat FROM heartbeat;
SELECT owner FROM heartbeat;
SELECT next_id FROM id_block WHERE name = 'product' LIMIT 100 FOR UPDATE;
SELECT id, paused, actor, reason, changed_at FROM recovery WHERE id = 1 LIMIT 100;
SELECT paused FROM recovery WHERE id = 1 LIMIT 100;
SELECT request_id, subject, method, request_hash, saga_id
    FROM request
    WHERE request_id IN (X'c4ca4238a0b923820dcc509a6f75849b', X'c81e728d9d4c2f636f067f89cc14862c');
SELECT request_id, subject, method, request_hash, saga_id
    FROM request
    WHERE (request_id = X'c4ca4238a0b923820dcc509a6f75849b' AND (subject = '5000' AND method = 1)) LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (owner = X'00000000000000000000000000000001' AND placed_at < '2026-11-08 00:00:00')
    ORDER BY saga_id LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (owner NOT IN (X'00000000000000000000000000000001', X'00000000000000000000000000000002') AND (state IN (1, 2, 3) AND ((kind * 65536 + plan_version) IN (65537, 131073))) AND saga_id > X'019300000000000000000000000003e8')
    ORDER BY saga_id LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389') AND owner = X'00000000000000000000000000000001')
    ORDER BY saga_id;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE saga_id = X'019300000000000000000000000003e8' LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE saga_id = X'019300000000000000000000000003e8' LIMIT 100 FOR UPDATE;
SELECT saga_id FROM saga ORDER BY saga_id LIMIT 100;
SELECT saga_id
    FROM saga
    WHERE saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389')
    ORDER BY saga_id FOR UPDATE;
SELECT watermark FROM saga_watermark WHERE id = 1 LIMIT 100 FOR UPDATE;
SELECT watermark FROM saga_watermark;
SELECT saga_id
    FROM saga
    WHERE saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389')
    ORDER BY saga_id FOR UPDATE NOWAIT;
SELECT saga_id
    FROM saga
    WHERE (owner NOT IN (X'00000000000000000000000000000001', X'00000000000000000000000000000002') AND (NOT (state IN (1, 2, 3) AND ((kind * 65536 + plan_version) IN (65537, 131073)))))
    ORDER BY saga_id LIMIT 100;
SELECT watermark FROM saga_watermark WHERE id = 1 LIMIT 100;
SELECT saga_id FROM saga_history ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE saga_id = X'019300000000000000000000000003e8' LIMIT 100;
SELECT saga_id, request_id
    FROM saga_history
    WHERE (((saga_id <= X'019300000000000000000000000003e8' AND ended_at < '2026-11-08 00:00:00') AND (outcome != 1)) AND (request_id IS NOT NULL))
    ORDER BY saga_id LIMIT 100 FOR UPDATE;
SELECT request_id, saga_id, action, request_hash, actor, reason, record, created_at
    FROM saga_operation
    WHERE request_id = X'c4ca4238a0b923820dcc509a6f75849b' LIMIT 100;
SELECT saga_id, action, created_at
    FROM saga_operation
    WHERE (saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389') AND action IN (1, 2));
SELECT saga_id, record
    FROM saga_operation
    WHERE (saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389') AND action = 1);
UPDATE id_block SET next_id = 5000 WHERE name = 'product';
UPDATE recovery SET paused = 1, actor = 'x', reason = 'x', changed_at = '2026-11-05 00:00:00' WHERE id = 1;
UPDATE saga SET owner = X'00000000000000000000000000000001', state = 1, attention = 'x'
    WHERE saga_id = X'019300000000000000000000000003e8';
UPDATE saga SET owner = X'00000000000000000000000000000001'
    WHERE (saga_id IN (X'019300000000000000000000000003e8', X'01930000000000000000000000001389')
        AND owner = X'00000000000000000000000000000002'
        AND NOT (EXISTS (SELECT owner, beat, started_at FROM heartbeat
            WHERE owner = X'00000000000000000000000000000002' AND beat != 1)));
UPDATE saga SET state = 1, attention = 'x' WHERE saga_id = X'019300000000000000000000000003e8';
UPDATE saga_watermark SET watermark = X'019300000000000000000000000003e8' WHERE id = 1;
-- Lowering the watermark.
UPDATE saga_watermark SET watermark = X'019300000000000000000000000003e8' WHERE watermark > X'019300000000000000000000000003e8';
SELECT saga_id FROM saga_history WHERE saga_id <= X'019300000000000000000000000003e8' ORDER BY saga_id DESC LIMIT 1;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE saga_id < X'019300000000000000000000000003e8'
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (subject = '5000' AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE subject = '5000'
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE saga_id < X'019300000000000000000000000003e8'
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (subject = '5000' AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE subject = '5000'
    ORDER BY saga_id DESC LIMIT 100;
-- Lists of sagas, and how far a page of them looks.
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (subject = '5000' AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((subject = '5000' AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((kind = 1 AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (((kind = 1 AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (object = '5000' AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((object = '5000' AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (trace_id = 'x' AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((trace_id = 'x' AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (subject = '5000' AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((subject = '5000' AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((kind = 1 AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (((kind = 1 AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
-- allowed: an order has few sagas: the one that placed it, and its cancels
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (object = '5000' AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
-- allowed: an order has few sagas: the one that placed it, and its cancels
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((object = '5000' AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (trace_id = 'x' AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((trace_id = 'x' AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (state IN (1, 2) AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((state IN (1, 2) AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (state NOT IN (1, 2) AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((state NOT IN (1, 2) AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (outcome IN (1, 2) AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((outcome IN (1, 2) AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((outcome IN (1, 2) AND kind = 1) AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (((outcome IN (1, 2) AND kind = 1) AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((outcome IN (1, 2) AND subject = '5000') AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (((outcome IN (1, 2) AND subject = '5000') AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((outcome IN (1, 2) AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (((outcome IN (1, 2) AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE (kind = 1 AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((kind = 1 AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE (kind = 1 AND saga_id >= X'01930000000000000000000000000100')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id, traceparent, owner, state, attention, request_id
    FROM saga
    WHERE ((kind = 1 AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result, ended_at, request_id
    FROM saga_history
    WHERE ((((((outcome IN (1, 2) AND subject = '5000') AND object = '5000') AND kind = 1) AND trace_id = 'x') AND saga_id >= X'01930000000000000000000000000100') AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 100;
SELECT saga_id
    FROM saga
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga
    WHERE saga_id < X'019300000000000000000000000003e8'
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga
    WHERE subject = '5000'
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga
    WHERE (subject = '5000' AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga_history
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga_history
    WHERE saga_id < X'019300000000000000000000000003e8'
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga_history
    WHERE subject = '5000'
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
SELECT saga_id
    FROM saga_history
    WHERE (subject = '5000' AND saga_id < X'019300000000000000000000000003e8')
    ORDER BY saga_id DESC LIMIT 1 OFFSET 9999;
