ALTER TABLE orders ADD KEY orders_by_user (user_id, id);
