CREATE TABLE outbox_shard (
    shard TINYINT NOT NULL,
    last_position BIGINT NOT NULL COMMENT 'the highest number given to a row',
    published_position BIGINT NOT NULL COMMENT 'the bus holds the rows up to this number',
    PRIMARY KEY (shard)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
