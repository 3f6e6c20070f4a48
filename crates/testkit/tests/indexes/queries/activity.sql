SELECT shard, position FROM consumer_position WHERE source = 'order';
UPDATE consumer_position SET complete_from = '2026-11-05 00:00:00' WHERE (source = 'order' AND shard = 1);
UPDATE consumer_position SET position = 5000 WHERE source = 'order';
SELECT event_id FROM activity_log
    WHERE (occurred_at, event_id) IN (('2026-11-05 00:00:00', X'019300000000000000000000000003e8'), ('2026-11-05 00:00:01', X'01930000000000000000000000001389'));
UPDATE consumer_position SET position = CASE shard WHEN 1 THEN 5 END
    WHERE source = 'order' AND (shard, position) IN ((1, 4), (2, 4));
