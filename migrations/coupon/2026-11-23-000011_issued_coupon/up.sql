CREATE TABLE issued_coupon (
    id BIGINT NOT NULL,
    coupon_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    sequence INT NOT NULL COMMENT '1 to quota, in the order of granting',
    state TINYINT NOT NULL COMMENT '1 active, 2 used, 3 forfeited',
    order_id BIGINT NULL,
    version BIGINT NOT NULL,
    issued_at DATETIME(6) NOT NULL,
    valid_from DATE NOT NULL COMMENT 'calendar day in Asia/Seoul',
    valid_until DATE NOT NULL COMMENT 'calendar day in Asia/Seoul, inclusive',
    PRIMARY KEY (coupon_id, user_id),
    UNIQUE KEY issued_coupon_by_id (id),
    KEY issued_coupon_by_user (user_id, issued_at, id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
