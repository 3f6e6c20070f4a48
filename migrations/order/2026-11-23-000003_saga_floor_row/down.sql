DELETE FROM saga_floor;
