CREATE TABLE order_line (
    order_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    line TINYINT NOT NULL COMMENT '1 to 100, in the order in which the client named the products',
    quantity INT NOT NULL COMMENT 'units',
    unit_price BIGINT NOT NULL COMMENT 'won, at the moment of the order',
    PRIMARY KEY (order_id, product_id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
