-- Whether replicas take over sagas of others.
CREATE TABLE recovery (
    id TINYINT NOT NULL,
    paused BOOLEAN NOT NULL,
    actor VARCHAR(64) NOT NULL COMMENT 'who said so last',
    reason VARCHAR(500) NOT NULL,
    changed_at DATETIME(6) NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
