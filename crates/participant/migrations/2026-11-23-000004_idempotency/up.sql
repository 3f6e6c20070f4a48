CREATE TABLE idempotency (
    request_id BINARY(16) NOT NULL,
    subject VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'whose request it is',
    method TINYINT NOT NULL,
    request_hash BINARY(8) NOT NULL,
    refused BOOLEAN NOT NULL,
    reply VARBINARY(4096) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (request_id, subject, method)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
