INSERT INTO id_block (name, next_id) VALUES ('coupon', 1), ('issued_coupon', 1);
