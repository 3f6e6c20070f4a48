INSERT INTO saga_watermark (id, watermark) VALUES (1, UNHEX(REPEAT('00', 16)));
