CREATE TABLE activity_log (
    occurred_at DATETIME(6) NOT NULL,
    event_id BINARY(16) NOT NULL,
    event_type VARCHAR(64) NOT NULL,
    user_id BIGINT NULL,
    trace_id VARCHAR(64) NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (occurred_at, event_id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
