DROP TABLE saga_operation;
