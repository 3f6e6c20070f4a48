DROP TABLE outbox_shard;
