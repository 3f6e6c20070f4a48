DROP TABLE saga_op;
