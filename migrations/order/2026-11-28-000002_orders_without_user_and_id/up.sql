-- Lists went by it. Those of an older program find a user's orders by the new key, and sort them.
ALTER TABLE orders DROP KEY orders_by_user;
