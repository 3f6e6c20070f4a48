-- The step table: at most one row per step of a saga, written in the transaction of its effect.
CREATE TABLE IF NOT EXISTS saga_step (
  saga_id        BLOB    NOT NULL CHECK (length(saga_id) = 16),
  step           INTEGER NOT NULL CHECK (step BETWEEN 1 AND 32767),
  state          INTEGER NOT NULL CHECK (state BETWEEN 2 AND 5), -- the numbers of StepState
  content_digest BLOB    NOT NULL,
  reply          BLOB    NOT NULL CHECK (length(reply) <= 4096), -- reply, rejection or void reason
  created_at     INTEGER NOT NULL,                               -- milliseconds since 1970
  PRIMARY KEY (saga_id, step)
) WITHOUT ROWID;

-- Sagas up to this id are over: steps without a row never run, and rows may be deleted.
CREATE TABLE IF NOT EXISTS saga_watermark (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  watermark BLOB NOT NULL CHECK (length(watermark) = 16)
);
INSERT OR IGNORE INTO saga_watermark VALUES (1, zeroblob(16));

-- The airline.
CREATE TABLE IF NOT EXISTS flight (name TEXT PRIMARY KEY);
INSERT OR IGNORE INTO flight VALUES ('KE1'), ('KE2');

CREATE TABLE IF NOT EXISTS reservation (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  flight    TEXT NOT NULL,
  seat      TEXT NOT NULL,
  passenger TEXT NOT NULL,
  UNIQUE (flight, seat)
);

CREATE TABLE IF NOT EXISTS ticket (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  reservation INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS receipt (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  email TEXT NOT NULL,
  text  TEXT NOT NULL
);
