ALTER TABLE outbox DROP KEY outbox_by_aggregate;
