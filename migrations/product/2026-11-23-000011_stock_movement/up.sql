CREATE TABLE stock_movement (
    product_id BIGINT NOT NULL,
    seq BIGINT NOT NULL COMMENT '1, 2, 3 ... without gaps',
    kind TINYINT NOT NULL COMMENT '1 initial, 2 adjust, 3 reserve, 4 release, 5 restock',
    delta INT NOT NULL COMMENT 'units, signed',
    stock_after INT NOT NULL,
    order_id BIGINT NULL,
    saga_id BINARY(16) NULL,
    reason VARCHAR(200) NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (product_id, seq)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
