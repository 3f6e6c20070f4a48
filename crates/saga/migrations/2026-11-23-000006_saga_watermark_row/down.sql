DELETE FROM saga_watermark;
