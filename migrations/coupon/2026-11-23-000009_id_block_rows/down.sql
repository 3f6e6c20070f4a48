DELETE FROM id_block;
