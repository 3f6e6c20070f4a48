DROP TABLE id_block;
