INSERT INTO saga_floor (id, floor) VALUES (1, UNHEX(REPEAT('00', 16)));
