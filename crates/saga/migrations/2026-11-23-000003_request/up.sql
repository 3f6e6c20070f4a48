CREATE TABLE request (
    request_id BINARY(16) NOT NULL,
    subject VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    method TINYINT NOT NULL,
    request_hash BINARY(8) NOT NULL,
    saga_id BINARY(16) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (request_id, subject, method)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
