ALTER TABLE product DROP KEY product_by_time;
