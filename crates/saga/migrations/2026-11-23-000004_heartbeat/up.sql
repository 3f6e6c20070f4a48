CREATE TABLE heartbeat (
    owner BINARY(16) NOT NULL,
    beat BIGINT NOT NULL,
    started_at DATETIME(6) NOT NULL,
    PRIMARY KEY (owner)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
