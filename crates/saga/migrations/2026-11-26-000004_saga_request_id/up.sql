-- The request that began the saga, so that both can be forgotten together. NULL from programs that did not know the column.
ALTER TABLE saga ADD COLUMN request_id BINARY(16) NULL;
