CREATE TABLE idempotency (
    request_id BINARY(16) NOT NULL,
    user_id BIGINT NOT NULL,
    method TINYINT NOT NULL,
    request_hash BINARY(8) NOT NULL,
    refused BOOLEAN NOT NULL,
    reply VARBINARY(4096) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (request_id, user_id, method)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
