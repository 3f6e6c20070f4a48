ALTER TABLE saga DROP COLUMN request_id;
