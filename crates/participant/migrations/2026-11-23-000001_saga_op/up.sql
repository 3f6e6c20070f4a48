CREATE TABLE saga_op (
    saga_id BINARY(16) NOT NULL,
    step SMALLINT NOT NULL,
    state TINYINT NOT NULL COMMENT '1 done, 2 rejected, 3 compensated, 4 tombstone',
    request_hash BINARY(8) NOT NULL,
    reply VARBINARY(4096) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (saga_id, step)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
