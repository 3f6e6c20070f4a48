DELETE FROM outbox_shard;
