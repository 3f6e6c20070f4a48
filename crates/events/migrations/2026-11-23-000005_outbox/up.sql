CREATE TABLE outbox (
    id BIGINT NOT NULL AUTO_INCREMENT,
    shard TINYINT NOT NULL COMMENT '0 to 15, by hash of the aggregate',
    position BIGINT NULL COMMENT 'number within the shard; NULL until the relay gave one',
    event_id BINARY(16) NOT NULL,
    event_type VARCHAR(64) NOT NULL,
    aggregate_kind VARCHAR(32) NOT NULL,
    aggregate_id BIGINT NOT NULL,
    version BIGINT NOT NULL,
    occurred_at DATETIME(6) NOT NULL,
    trace_id VARCHAR(64) NOT NULL,
    traceparent VARCHAR(64) NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (id),
    KEY outbox_by_shard (shard, position, id),
    KEY outbox_by_aggregate (aggregate_kind, aggregate_id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
