ALTER TABLE saga_history DROP COLUMN request_id;
