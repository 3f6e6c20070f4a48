DROP TABLE IF EXISTS replica_clock;
