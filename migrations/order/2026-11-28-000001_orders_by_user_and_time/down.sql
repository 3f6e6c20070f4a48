ALTER TABLE orders DROP KEY orders_by_user_and_time;
