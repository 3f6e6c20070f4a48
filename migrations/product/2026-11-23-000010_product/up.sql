CREATE TABLE product (
    id BIGINT NOT NULL,
    name VARCHAR(200) NOT NULL,
    price BIGINT NOT NULL COMMENT 'won',
    stock INT NOT NULL COMMENT 'units',
    movements BIGINT NOT NULL COMMENT 'stock movements so far',
    version BIGINT NOT NULL COMMENT 'changes of name and price',
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    CHECK (stock >= 0)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
