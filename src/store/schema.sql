-- The node's database, version 3. A change here needs a step in `UPGRADES` (src/store/mod.rs); a test compares both ways.

-- Counters and marks. `seq` (integer): the last sequence number given to a revision.
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT;

-- Every run of the node.
CREATE TABLE boot (
  boot_id TEXT PRIMARY KEY,
  started_ms INTEGER NOT NULL           -- UTC milliseconds, as everywhere
) STRICT;

-- The newest state of every event; kept after its revisions were receipted, until retention takes it.
CREATE TABLE event (
  id TEXT PRIMARY KEY,                  -- UUID
  camera TEXT NOT NULL,                 -- empty: the node itself
  revision INTEGER NOT NULL,            -- the last one given, from 1
  phase TEXT NOT NULL CHECK (phase IN ('started', 'updated', 'ended')),
  severity TEXT NOT NULL CHECK (severity IN ('notice', 'alert')),
  snapshot TEXT,                        -- SHA-256 of the newest picture that was accepted and not dropped
  started_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  report TEXT NOT NULL                  -- the whole state as JSON, to make a later revision from
) STRICT;
CREATE INDEX event_open ON event (camera) WHERE phase <> 'ended';
CREATE INDEX event_updated ON event (updated_ms);

-- Pictures that the centre has not receipted. `bytes` stands before the BLOB so that sums never read pictures.
CREATE TABLE snapshot (
  event TEXT NOT NULL REFERENCES event (id),
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  jpeg BLOB NOT NULL,
  PRIMARY KEY (event, sha256)
) STRICT;
CREATE INDEX snapshot_bytes ON snapshot (bytes);
CREATE INDEX snapshot_sha256 ON snapshot (sha256);

-- One row for each message that the centre has not receipted: an event revision or a picture. Ids grow in the order of
-- commits, so `id` order is `seq` order, and an event stands before its picture.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL CHECK (kind IN ('event', 'snapshot')),
  event TEXT NOT NULL REFERENCES event (id),
  camera TEXT NOT NULL,                 -- empty: the node itself
  revision INTEGER NOT NULL,            -- of a picture: the revision it came with
  phase TEXT NOT NULL CHECK (phase IN ('started', 'updated', 'ended')),
  sha256 TEXT,                          -- of a picture
  payload BLOB,                         -- of an event: the JSON, frozen at commit
  live INTEGER NOT NULL,                -- 1: an alert that goes ahead of the backlog while it is fresh
  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'parked')),
  attempts INTEGER NOT NULL DEFAULT 0,  -- times it was handed to the broker
  unanswered INTEGER NOT NULL DEFAULT 0,-- times a centre that is there did not receipt it
  sent_mono_ms INTEGER,                 -- monotonic, compared within one run only
  reason TEXT,                          -- why it is parked
  boot_id TEXT NOT NULL,                -- the run that committed it
  committed_ms INTEGER NOT NULL,
  arrived_mono_ms INTEGER,              -- when the frame behind it arrived; none for facts without a frame
  CHECK ((kind = 'event') = (payload IS NOT NULL)),
  CHECK ((kind = 'snapshot') = (sha256 IS NOT NULL))
) STRICT;
CREATE INDEX outbox_state ON outbox (state, id);
CREATE INDEX outbox_live ON outbox (id) WHERE live = 1 AND state = 'pending';
CREATE INDEX outbox_event ON outbox (event, revision);
CREATE INDEX outbox_sha256 ON outbox (sha256) WHERE sha256 IS NOT NULL;

-- Places where the detector sees an object that is none; learned by a worker, given back to it after a restart.
CREATE TABLE phantoms (
  camera TEXT PRIMARY KEY,
  list TEXT NOT NULL                    -- JSON
) STRICT;

-- Recorded files, as far as they were announced: the sidecar beside each file can rebuild its row.
CREATE TABLE segment (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  path TEXT NOT NULL UNIQUE,            -- relative to the recording directory
  stream TEXT NOT NULL CHECK (stream IN ('detect', 'record')),
  codec TEXT NOT NULL CHECK (codec IN ('h264', 'h265', 'mjpeg')),
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER,                       -- none while it grows
  start_mono_ns INTEGER NOT NULL,       -- compared within one boot of the machine only
  boot_id TEXT NOT NULL,
  bytes INTEGER NOT NULL,               -- of the whole file; 0 while it grows
  sha256 TEXT,                          -- of the whole file
  fragments INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'recovered')),
  held INTEGER NOT NULL DEFAULT 0       -- 1: retention leaves it
) STRICT;
CREATE INDEX segment_camera ON segment (camera, start_ms);
CREATE INDEX segment_open ON segment (camera) WHERE state = 'open';
CREATE INDEX segment_unheld ON segment (start_ms) WHERE held = 0 AND state <> 'open';

-- Times of a camera without recording.
CREATE TABLE gap (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER,                       -- none while it lasts
  reason TEXT NOT NULL
    CHECK (reason IN ('offline', 'paused', 'disk_full', 'node_down', 'schedule', 'codec_change', 'off'))
) STRICT;
CREATE INDEX gap_camera ON gap (camera, start_ms);
CREATE INDEX gap_open ON gap (camera) WHERE end_ms IS NULL;

-- Clips on this machine: one for an event while it runs and one when it is over, or what the centre asked for.
CREATE TABLE clip (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  event TEXT,                           -- none: made for a command. The event may be forgotten before its clip
  command TEXT,                         -- the command that asked for it
  path TEXT NOT NULL,                   -- relative to the directory of clips
  sha256 TEXT NOT NULL,                 -- of the file
  bytes INTEGER NOT NULL,
  from_ms INTEGER NOT NULL,             -- what the pictures cover
  to_ms INTEGER NOT NULL,
  masked INTEGER NOT NULL,              -- 1: made anew with the camera's masks burned in
  complete INTEGER NOT NULL,            -- 0: its event went on when it was made
  created_ms INTEGER NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,      -- 1: retention leaves it
  deliver INTEGER NOT NULL DEFAULT 0,   -- 1: the centre is to have it
  delivered_ms INTEGER,                 -- when the centre said that it has all of it
  parked TEXT                           -- why it cannot be delivered; tried again at the next start
) STRICT;
CREATE INDEX clip_event ON clip (event);
CREATE INDEX clip_sha256 ON clip (sha256);
CREATE INDEX clip_undelivered ON clip (id) WHERE deliver = 1 AND delivered_ms IS NULL AND parked IS NULL;
CREATE INDEX clip_unheld ON clip (created_ms) WHERE held = 0;

-- What the centre asked of this node and was answered, so that a command that comes twice is done once and answered
-- twice. The row comes in the transaction that does what was asked.
CREATE TABLE command (
  id TEXT PRIMARY KEY,                  -- UUID, given by the centre
  kind TEXT NOT NULL,
  body TEXT NOT NULL,                   -- the command's JSON
  expires_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  answer TEXT NOT NULL                  -- the answer's JSON
) STRICT;
CREATE INDEX command_received ON command (received_ms);

-- Ranges that retention must leave, by whatever is recorded in them, until they are released.
CREATE TABLE hold (
  id TEXT PRIMARY KEY,                  -- UUID of the command that asked for it
  camera TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  issuer TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX hold_camera ON hold (camera, from_ms);

-- Where objects went, for the last day: what a changed zone or rule would have seen.
CREATE TABLE track (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  track INTEGER NOT NULL,               -- the tracker's number, unique within one life of a worker
  since_ms INTEGER NOT NULL,            -- when the track began; a long one has several rows
  label TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  points BLOB NOT NULL                  -- see src/base/trajectory.rs
) STRICT;
CREATE INDEX track_camera ON track (camera, start_ms);
CREATE INDEX track_end ON track (end_ms);

-- What a camera's owner had covered, and since when: what was recorded then is shown to nobody without it.
CREATE TABLE mask (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  polygons TEXT NOT NULL                -- JSON; `[]`: nothing was covered
) STRICT;
CREATE INDEX mask_camera ON mask (camera, since_ms);
