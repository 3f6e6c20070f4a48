CREATE TABLE ledger (
    user_id BIGINT NOT NULL,
    seq BIGINT NOT NULL COMMENT '1, 2, 3 ... without gaps',
    kind TINYINT NOT NULL COMMENT '1 charge, 2 debit, 3 undo of a debit, 4 refund',
    amount BIGINT NOT NULL COMMENT 'won, signed',
    balance_after BIGINT NOT NULL,
    order_id BIGINT NULL,
    saga_id BINARY(16) NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (user_id, seq)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
