-- How late it certainly is, by what replicas saw. A clock that is far ahead of it is not trusted to delete.
CREATE TABLE IF NOT EXISTS clock_mark (
    id TINYINT NOT NULL,
    mark_at DATETIME(6) NOT NULL COMMENT 'it is at least that late',
    era BIGINT NOT NULL COMMENT 'grows when another clock is believed than before',
    ahead_at DATETIME(6) NULL COMMENT 'what a clock showed last that has run away',
    ahead_for BIGINT NOT NULL COMMENT 'microseconds for which that one has been watched',
    actor VARCHAR(64) NOT NULL COMMENT 'who said last that the clock is right',
    reason VARCHAR(500) NOT NULL COMMENT 'why',
    accepted_at DATETIME(6) NULL COMMENT 'when, by that clock',
    PRIMARY KEY (id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
