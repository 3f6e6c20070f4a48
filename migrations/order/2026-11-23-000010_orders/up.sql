CREATE TABLE orders (
    id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    state TINYINT NOT NULL COMMENT '1 confirmed, 2 cancelling, 3 cancelled',
    saga_id BINARY(16) NOT NULL COMMENT 'the checkout',
    cancel_saga_id BINARY(16) NULL,
    total BIGINT NOT NULL COMMENT 'won',
    discount BIGINT NOT NULL,
    paid BIGINT NOT NULL,
    coupon_id BIGINT NULL,
    issued_coupon_id BIGINT NULL,
    version BIGINT NOT NULL,
    placed_at DATETIME(6) NOT NULL,
    cancelled_at DATETIME(6) NULL,
    PRIMARY KEY (id),
    KEY orders_by_user (user_id, id),
    KEY orders_by_placed_at (placed_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
