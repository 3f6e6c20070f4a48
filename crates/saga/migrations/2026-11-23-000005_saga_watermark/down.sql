DROP TABLE saga_watermark;
