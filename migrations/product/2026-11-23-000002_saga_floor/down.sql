DROP TABLE saga_floor;
