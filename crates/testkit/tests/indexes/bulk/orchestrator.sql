-- A million sagas that ended, each with its request, three thousand under way, of three replicas.
INSERT INTO saga_history (saga_id, kind, plan_version, subject, object, weight, request, placed_at, trace_id, outcome, result,
        ended_at, request_id)
    SELECT UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))), 1 + (seq % 20 = 0), 1, 1 + seq * 7919 % 100000, seq, 1000, REPEAT('q', 60),
        TIMESTAMP('2026-11-01') + INTERVAL seq SECOND, '', 1 + (seq % 50 = 0), REPEAT('r', 40),
        TIMESTAMP('2026-11-01') + INTERVAL seq SECOND, UNHEX(MD5(seq))
    FROM seq_1_to_1000000;

INSERT INTO request (request_id, subject, method, request_hash, saga_id, created_at)
    SELECT UNHEX(MD5(seq)), 1 + seq * 7919 % 100000, 1 + (seq % 20 = 0), REPEAT('h', 8), UNHEX(CONCAT('0193', LPAD(HEX(seq), 28, '0'))),
        TIMESTAMP('2026-11-01') + INTERVAL seq SECOND
    FROM seq_1_to_1000000;

INSERT INTO saga (saga_id, kind, plan_version, subject, object, unique_object, weight, request, placed_at, deadline_at, trace_id,
        traceparent, owner, state, attention, request_id)
    SELECT UNHEX(CONCAT('0193', LPAD(HEX(seq + 2000000), 28, '0'))), 1, 1, seq, seq + 2000000, seq + 2000000, 1000, REPEAT('q', 60),
        TIMESTAMP('2026-11-20'), TIMESTAMP('2026-11-20'), '', '', UNHEX(LPAD(HEX(seq % 3), 32, '0')), 1 + (seq % 100 = 0), NULL,
        UNHEX(MD5(seq + 2000000))
    FROM seq_1_to_3000;

INSERT INTO heartbeat (owner, beat, started_at)
    SELECT UNHEX(LPAD(HEX(seq), 32, '0')), 1, TIMESTAMP('2026-11-20') FROM seq_0_to_2;

INSERT INTO saga_operation (request_id, saga_id, action, request_hash, actor, reason, record, created_at)
    SELECT UNHEX(MD5(seq)), UNHEX(CONCAT('0193', LPAD(HEX(seq * 50), 28, '0'))), 1 + seq % 3, REPEAT('h', 8), 'someone', '', 'r', TIMESTAMP('2026-11-20')
    FROM seq_1_to_2000;
