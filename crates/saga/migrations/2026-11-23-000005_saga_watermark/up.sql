CREATE TABLE saga_watermark (
    id TINYINT NOT NULL,
    watermark BINARY(16) NOT NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
