-- Lists are by the instant of creation: ids come from a block of each replica.
ALTER TABLE product ADD KEY product_by_time (created_at, id);
