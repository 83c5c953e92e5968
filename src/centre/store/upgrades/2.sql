-- Version 1 to 2: enrolled nodes, clips. Frozen; what the tables mean stands in schema.sql.

CREATE TABLE enrolment (
  node TEXT PRIMARY KEY,
  secret_sha256 TEXT NOT NULL,
  enrolled_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE enrol_code (
  node TEXT PRIMARY KEY,
  code_sha256 TEXT NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clip (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  event TEXT NOT NULL,
  command TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  masked INTEGER NOT NULL,
  complete INTEGER NOT NULL,
  stored_ms INTEGER NOT NULL,
  UNIQUE (node, sha256, camera, event, command)
) STRICT;
CREATE INDEX clip_event ON clip (node, event);
CREATE INDEX clip_camera ON clip (node, camera, from_ms);
