-- The clock: the record, and what replicas tell each other.
SELECT UTC_TIMESTAMP(6);
SELECT mark_at, era, ahead_at, ahead_for FROM clock_mark WHERE id = 1 LIMIT 100 FOR UPDATE;
SELECT mark_at, ahead_at, ahead_for, actor, reason, accepted_at FROM clock_mark WHERE id = 1 LIMIT 100;
SELECT era FROM clock_mark WHERE id = 1 LIMIT 100 FOR UPDATE;
INSERT INTO clock_mark (id, mark_at, era, ahead_for, actor, reason) VALUES (1, '2026-11-05 00:00:00', 0, 0, '', '');
UPDATE clock_mark SET mark_at = '2026-11-05 00:00:00', era = 0, ahead_at = NULL, ahead_for = 0 WHERE id = 1;
UPDATE clock_mark
    SET mark_at = '2026-11-05 00:00:00', era = 0, ahead_at = NULL, ahead_for = 0, actor = 'x', reason = 'x', accepted_at = '2026-11-05 00:00:00'
    WHERE id = 1;
INSERT INTO replica_clock (replica, offset_us, reported_at) VALUES (X'00000000000000000000000000000001', 5, UTC_TIMESTAMP(6))
    ON DUPLICATE KEY UPDATE offset_us = VALUES(offset_us), reported_at = VALUES(reported_at);
SELECT replica FROM replica_clock WHERE reported_at < UTC_TIMESTAMP(6) - INTERVAL 1 DAY;
DELETE FROM replica_clock WHERE replica = X'00000000000000000000000000000001';
SELECT offset_us FROM replica_clock WHERE replica <> X'00000000000000000000000000000001'
    AND reported_at > UTC_TIMESTAMP(6) - INTERVAL 30 SECOND
    AND reported_at < UTC_TIMESTAMP(6) + INTERVAL 1 SECOND;
