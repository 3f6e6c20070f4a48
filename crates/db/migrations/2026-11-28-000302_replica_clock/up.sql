-- What the replicas tell each other of their clocks.
CREATE TABLE IF NOT EXISTS replica_clock (
    replica BINARY(16) NOT NULL COMMENT 'a process, new at each start',
    offset_us BIGINT NOT NULL COMMENT 'microseconds that its clock is ahead of the database''s',
    reported_at DATETIME(6) NOT NULL COMMENT 'by the database''s clock',
    PRIMARY KEY (replica)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
