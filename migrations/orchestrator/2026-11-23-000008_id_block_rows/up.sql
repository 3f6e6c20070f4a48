INSERT INTO id_block (name, next_id) VALUES ('order', 1);
