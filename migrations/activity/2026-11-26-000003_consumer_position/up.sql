CREATE TABLE consumer_position (
    source VARCHAR(16) NOT NULL COMMENT 'wallet or order',
    shard TINYINT NOT NULL COMMENT '0 to 15, of the source''s outbox',
    position BIGINT NOT NULL COMMENT 'the log has the events up to this number',
    complete_from DATETIME(6) NOT NULL COMMENT 'and all of those that occurred from then on',
    PRIMARY KEY (source, shard)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
