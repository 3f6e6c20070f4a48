SELECT shard, position FROM consumer_position WHERE source = 'order';
UPDATE consumer_position SET complete_from = '2026-11-05 00:00:00' WHERE (source = 'order' AND shard = 1);
UPDATE consumer_position SET position = 5000 WHERE source = 'order';
