-- Version 2 to 3: clips, commands, holds, tracks. Frozen; what the tables mean stands in schema.sql.

CREATE TABLE clip (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  event TEXT,
  command TEXT,
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  masked INTEGER NOT NULL,
  complete INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  deliver INTEGER NOT NULL DEFAULT 0,
  delivered_ms INTEGER,
  parked TEXT
) STRICT;
CREATE INDEX clip_event ON clip (event);
CREATE INDEX clip_sha256 ON clip (sha256);
CREATE INDEX clip_undelivered ON clip (id) WHERE deliver = 1 AND delivered_ms IS NULL AND parked IS NULL;
CREATE INDEX clip_unheld ON clip (created_ms) WHERE held = 0;

CREATE TABLE command (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  expires_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  answer TEXT NOT NULL
) STRICT;
CREATE INDEX command_received ON command (received_ms);

CREATE TABLE hold (
  id TEXT PRIMARY KEY,
  camera TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  issuer TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX hold_camera ON hold (camera, from_ms);

CREATE TABLE track (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  track INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  label TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  points BLOB NOT NULL
) STRICT;
CREATE INDEX track_camera ON track (camera, start_ms);
CREATE INDEX track_end ON track (end_ms);

CREATE TABLE mask (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  polygons TEXT NOT NULL
) STRICT;
CREATE INDEX mask_camera ON mask (camera, since_ms);
