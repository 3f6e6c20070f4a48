-- See saga.
ALTER TABLE saga_history ADD COLUMN request_id BINARY(16) NULL;
