ALTER TABLE outbox ADD KEY outbox_by_aggregate (aggregate_kind, aggregate_id);
