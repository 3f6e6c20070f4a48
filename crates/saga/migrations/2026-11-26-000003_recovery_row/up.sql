INSERT INTO recovery (id, paused, actor, reason, changed_at) VALUES (1, 0, '', '', NULL);
