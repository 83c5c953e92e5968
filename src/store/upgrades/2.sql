-- Version 1 to 2: recording. Frozen; what the tables mean stands in schema.sql.

CREATE TABLE segment (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  path TEXT NOT NULL UNIQUE,
  stream TEXT NOT NULL CHECK (stream IN ('detect', 'record')),
  codec TEXT NOT NULL CHECK (codec IN ('h264', 'h265', 'mjpeg')),
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER,
  start_mono_ns INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  sha256 TEXT,
  fragments INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'recovered')),
  held INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX segment_camera ON segment (camera, start_ms);
CREATE INDEX segment_open ON segment (camera) WHERE state = 'open';
CREATE INDEX segment_unheld ON segment (start_ms) WHERE held = 0 AND state <> 'open';

CREATE TABLE gap (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER,
  reason TEXT NOT NULL
    CHECK (reason IN ('offline', 'paused', 'disk_full', 'node_down', 'schedule', 'codec_change', 'off'))
) STRICT;
CREATE INDEX gap_camera ON gap (camera, start_ms);
CREATE INDEX gap_open ON gap (camera) WHERE end_ms IS NULL;
