-- Lists are by the instant of placing: ids come from a block of each replica.
ALTER TABLE orders ADD KEY orders_by_user_and_time (user_id, placed_at, id);
