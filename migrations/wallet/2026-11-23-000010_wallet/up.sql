CREATE TABLE wallet (
    user_id BIGINT NOT NULL,
    balance BIGINT NOT NULL COMMENT 'won',
    version BIGINT NOT NULL COMMENT 'entries of the ledger',
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (user_id),
    CHECK (balance >= 0)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
