-- What operators did to sagas, once a request.
CREATE TABLE saga_operation (
    request_id BINARY(16) NOT NULL,
    saga_id BINARY(16) NOT NULL COMMENT 'zeros for what is about no saga',
    action TINYINT NOT NULL COMMENT '1 retry, 2 abort, 3 resolve, 4 pause, 5 resume recovery',
    request_hash BINARY(8) NOT NULL,
    actor VARCHAR(64) NOT NULL,
    reason VARCHAR(500) NOT NULL,
    record BLOB NOT NULL COMMENT 'what the operator was told, or the decision',
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (request_id),
    KEY saga_operation_by_saga (saga_id, action)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
