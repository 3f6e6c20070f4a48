CREATE TABLE activity_log (
    occurred_at DATETIME(6) NOT NULL COMMENT 'UTC, by the clock of the service that made the change',
    event_id BINARY(16) NOT NULL,
    source VARCHAR(16) NOT NULL COMMENT 'wallet or order',
    event_type VARCHAR(128) NOT NULL COMMENT 'full name of the payload''s type',
    kind VARCHAR(16) NOT NULL COMMENT 'WALLET, CHARGE, USE, UNDO, REFUND, ORDER, CANCEL, OTHER',
    version BIGINT NOT NULL COMMENT 'of the wallet or the order after the change',
    user_id BIGINT NULL,
    order_id BIGINT NULL,
    amount BIGINT NULL COMMENT 'won, signed, as in the ledger',
    balance_after BIGINT NULL COMMENT 'won',
    total BIGINT NULL COMMENT 'won for the lines of an order',
    paid BIGINT NULL COMMENT 'won that an order cost',
    trace_id VARCHAR(64) NOT NULL,
    payload BLOB NOT NULL COMMENT 'protobuf',
    PRIMARY KEY (occurred_at, event_id),
    KEY activity_log_by_user (user_id, occurred_at),
    KEY activity_log_by_order (order_id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE COLUMNS (occurred_at) (PARTITION late VALUES LESS THAN (MAXVALUE));
