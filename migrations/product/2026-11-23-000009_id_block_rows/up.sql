INSERT INTO id_block (name, next_id) VALUES ('product', 1);
