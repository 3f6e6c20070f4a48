CREATE TABLE saga_history (
    saga_id BINARY(16) NOT NULL,
    kind TINYINT NOT NULL COMMENT '1 checkout, 2 cancel',
    plan_version SMALLINT NOT NULL,
    subject VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    object VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    weight BIGINT NOT NULL,
    request MEDIUMBLOB NOT NULL,
    placed_at DATETIME(6) NOT NULL,
    trace_id VARCHAR(64) NOT NULL,
    outcome TINYINT NOT NULL COMMENT '1 succeeded, 2 failed, 3 resolved',
    result MEDIUMBLOB NOT NULL,
    ended_at DATETIME(6) NOT NULL,
    PRIMARY KEY (saga_id),
    KEY saga_history_by_subject (subject, saga_id),
    KEY saga_history_by_object (object, kind)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
