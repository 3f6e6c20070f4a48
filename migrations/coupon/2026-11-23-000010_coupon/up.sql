CREATE TABLE coupon (
    id BIGINT NOT NULL,
    name VARCHAR(200) NOT NULL,
    discount_kind TINYINT NOT NULL COMMENT '1 percent, 2 fixed',
    discount_value BIGINT NOT NULL COMMENT 'percent, or won',
    discount_cap BIGINT NULL COMMENT 'won, for percent',
    quota INT NOT NULL,
    issued INT NOT NULL,
    validity_days INT NOT NULL,
    issuable_from DATETIME(6) NULL,
    issuable_until DATETIME(6) NULL,
    cancel_policy TINYINT NOT NULL COMMENT '1 restore, 2 forfeit',
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    KEY coupon_by_time (created_at, id),
    CHECK (issued <= quota)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
