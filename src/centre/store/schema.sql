-- The centre's database, version 2. A change here needs a step in `UPGRADES` (src/centre/store/sqlite.rs).
-- Times are UTC milliseconds; `committed_ms` is when the centre had it on disk.

-- The newest revision of every event, as the centre shows it. An event is (node, id).
CREATE TABLE event (
  node TEXT NOT NULL,
  id TEXT NOT NULL,
  camera TEXT NOT NULL,                 -- empty: the node itself
  revision INTEGER NOT NULL,            -- the newest that came; it may be any, and older ones may come later
  phase TEXT NOT NULL,
  severity TEXT NOT NULL,
  kind TEXT NOT NULL,
  rule TEXT NOT NULL,
  label TEXT NOT NULL,                  -- empty: no object took part
  started_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  snapshot TEXT,                        -- SHA-256; the picture itself may come later
  first_committed_ms INTEGER NOT NULL,
  committed_ms INTEGER NOT NULL,
  facet INTEGER NOT NULL DEFAULT 0,     -- its row in `facet`
  waiting_ms INTEGER,                   -- an alert that nobody has or was called up for: since when it waits
  box TEXT,                             -- of the object in its picture: [left, top, right, bottom] as JSON, fractions
  PRIMARY KEY (node, id)
) STRICT, WITHOUT ROWID;
-- Lists go from the newest to the oldest along one of these; (started_ms, node, id) is a page's cursor.
CREATE INDEX event_started ON event (started_ms, node, id, facet);
CREATE INDEX event_facet ON event (facet, started_ms, node, id);
CREATE INDEX event_waiting ON event (waiting_ms) WHERE waiting_ms IS NOT NULL;

-- Every combination of what events are searched by that any event has: some thousands, however many events there are. A search picks
-- facets first and reads the events of those only, so a rare combination costs no more than a frequent one.
CREATE TABLE facet (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  rule TEXT NOT NULL,
  kind TEXT NOT NULL,
  severity TEXT NOT NULL,
  label TEXT NOT NULL,
  phase TEXT NOT NULL,
  state TEXT NOT NULL,                  -- of the triage
  newest_ms INTEGER NOT NULL,           -- when the last event of it began
  UNIQUE (node, camera, rule, kind, severity, label, phase, state)
) STRICT;

-- Every revision as it was published, byte for byte.
CREATE TABLE revision (
  node TEXT NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  json TEXT NOT NULL,
  committed_ms INTEGER NOT NULL,
  PRIMARY KEY (node, id, revision),
  FOREIGN KEY (node, id) REFERENCES event (node, id)
) STRICT;

-- Pictures by content; the file is snapshots/<2 hex>/<2 hex>/<sha256>.jpg beside this database.
CREATE TABLE snapshot (
  sha256 TEXT PRIMARY KEY,
  bytes INTEGER NOT NULL,
  committed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which event a picture came with. It may come before its event, so nothing refers to `event`.
CREATE TABLE event_snapshot (
  node TEXT NOT NULL,
  event TEXT NOT NULL,
  sha256 TEXT NOT NULL REFERENCES snapshot (sha256),
  camera TEXT NOT NULL,
  committed_ms INTEGER NOT NULL,
  PRIMARY KEY (node, event, sha256)
) STRICT, WITHOUT ROWID;

-- What nodes last said of themselves.
CREATE TABLE node (
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  version TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  since TEXT NOT NULL,
  committed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What nodes last said of their cameras. Counts only while the node is online and in the same run.
CREATE TABLE camera (
  node TEXT NOT NULL,
  name TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  state TEXT NOT NULL,
  json TEXT NOT NULL,
  committed_ms INTEGER NOT NULL,
  PRIMARY KEY (node, name)
) STRICT, WITHOUT ROWID;

-- What nodes tell of their cameras: name, place, zones, rules. Never how one is reached.
CREATE TABLE camera_info (
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  revision INTEGER NOT NULL,            -- of the node's cameras document
  json TEXT NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (node, camera)
) STRICT, WITHOUT ROWID;

-- Nodes that may deliver. The secret itself is on the node only.
CREATE TABLE enrolment (
  node TEXT PRIMARY KEY,
  secret_sha256 TEXT NOT NULL,          -- of the secret's hex digits
  enrolled_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One-time codes that were given out; a newer one for the same node takes the place of an older.
CREATE TABLE enrol_code (
  node TEXT PRIMARY KEY,
  code_sha256 TEXT NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Clips that were delivered whole. The object <2 hex>/<sha256>.mp4 in the store of clips was durable before its row.
CREATE TABLE clip (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  event TEXT NOT NULL,                  -- empty: none. Its event may come later, so nothing refers to `event`
  command TEXT NOT NULL,                -- empty: none
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  masked INTEGER NOT NULL,
  complete INTEGER NOT NULL,            -- 0: its event went on when it was made
  stored_ms INTEGER NOT NULL,
  UNIQUE (node, sha256, camera, event, command)
) STRICT;
CREATE INDEX clip_event ON clip (node, event);
CREATE INDEX clip_command ON clip (command) WHERE command <> '';
CREATE INDEX clip_camera ON clip (node, camera, from_ms);

-- What was asked of nodes. The row is there before the command is sent, and is never deleted.
CREATE TABLE command (
  id TEXT PRIMARY KEY,                  -- UUID
  node TEXT NOT NULL,
  kind TEXT NOT NULL,                   -- clip, hold, release
  issuer TEXT NOT NULL,                 -- who asked
  reason TEXT NOT NULL,                 -- and why
  body TEXT NOT NULL,                   -- as it is published
  issued_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  state TEXT NOT NULL,                  -- pending, then done, failed, refused or expired
  answer TEXT,                          -- the node's, as JSON
  answered_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX command_pending ON command (node, expires_ms) WHERE state = 'pending';
CREATE INDEX command_issued ON command (issued_ms);

-- Ranges that a node was asked to keep.
CREATE TABLE hold (
  id TEXT PRIMARY KEY,                  -- the command's
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  issuer TEXT NOT NULL,
  state TEXT NOT NULL                   -- pending, then held, too_late or failed; released at last
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_camera ON hold (node, camera, from_ms);

-- Who works here. Passwords as argon2 makes of them; nothing in these tables opens a session.
CREATE TABLE user (
  id TEXT PRIMARY KEY,                  -- UUID
  name TEXT NOT NULL,                   -- what is typed at the login
  folded TEXT NOT NULL UNIQUE,          -- the name without case and diacritics
  display_name TEXT NOT NULL,
  role TEXT NOT NULL,
  cameras INTEGER NOT NULL,             -- 1: those of user_camera only; 0: all, for an owner none
  password TEXT,                        -- a PHC string; NULL until a link was used to set one
  disabled INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  last_login_ms INTEGER,
  totp TEXT,                            -- base32 of the second factor's secret; NULL: none is asked for
  totp_step INTEGER,                    -- of the last code that was taken; none is taken twice
  totp_begun TEXT,                      -- a secret that no code has confirmed yet
  totp_begun_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE user_camera (
  user TEXT NOT NULL REFERENCES user (id),
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  PRIMARY KEY (user, node, camera)
) STRICT, WITHOUT ROWID;

-- Open sessions. The token itself is in a browser only.
CREATE TABLE session (
  token_sha256 TEXT PRIMARY KEY,        -- of the token's hex digits
  id TEXT NOT NULL UNIQUE,              -- what the log and the page call it
  user TEXT NOT NULL REFERENCES user (id),
  created_ms INTEGER NOT NULL,
  last_seen_ms INTEGER NOT NULL,        -- to the minute
  expires_ms INTEGER NOT NULL,          -- whatever is done with it
  address TEXT NOT NULL,
  user_agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session (user, created_ms);

-- One-time links that were given out, one of a kind for each user.
CREATE TABLE login_link (
  token_sha256 TEXT PRIMARY KEY,
  user TEXT NOT NULL REFERENCES user (id),
  kind TEXT NOT NULL,                   -- setup: a password is set with it; login: it opens a session
  expires_ms INTEGER NOT NULL,
  UNIQUE (user, kind)
) STRICT, WITHOUT ROWID;

-- Logins that failed. Of addresses and of names that nobody has, a bounded number.
CREATE TABLE login_failure (
  kind TEXT NOT NULL,                   -- user, name (that nobody has) or address
  key TEXT NOT NULL,                    -- the user's id, a salted hash of the name, the address
  count INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_failure_last ON login_failure (kind, last_ms);

-- Who did what, and who looked at what; on disk before it is shown. Rows are only ever added.
CREATE TABLE access_log (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  user TEXT,                            -- NULL: nobody with an account
  session TEXT,                         -- its id, or `machine`: at the centre's own machine
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  node TEXT,
  camera TEXT,
  reason TEXT,
  case_number TEXT
) STRICT;
CREATE INDEX access_time ON access_log (at_ms, id);
CREATE INDEX access_user ON access_log (user, at_ms, id);
CREATE INDEX access_camera ON access_log (node, camera, at_ms, id);
CREATE INDEX access_action ON access_log (action, at_ms, id);
-- What officers did with an event. Without a row it is new; the row may come before its event. Users are ids.
CREATE TABLE triage (
  node TEXT NOT NULL,
  event TEXT NOT NULL,
  state TEXT NOT NULL,                  -- new, owned, dispatched or resolved
  verdict TEXT,                         -- true_alarm or false_alarm
  owner TEXT,
  version INTEGER NOT NULL,             -- one more with each change of state or owner
  updated_ms INTEGER NOT NULL,
  escalated_ms INTEGER,                 -- it was called up then, and nobody has it yet
  incident TEXT,                        -- events that belong together have the same
  PRIMARY KEY (node, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX triage_incident ON triage (incident) WHERE incident IS NOT NULL;

-- Who did what. Rows stay.
CREATE TABLE triage_history (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  event TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  deed TEXT NOT NULL,
  by_user TEXT,                         -- none: the centre itself
  text TEXT,
  verdict TEXT
) STRICT;
CREATE INDEX triage_history_event ON triage_history (node, event, id);
CREATE INDEX triage_history_at ON triage_history (at_ms);

-- Cameras and rules whose alerts call nobody for a while. Rows stay.
CREATE TABLE snooze (
  id TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,                 -- empty: the node itself
  rule TEXT,                            -- none: all of them
  until_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  by_user TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  ended_ms INTEGER                      -- somebody ended it before its time
) STRICT, WITHOUT ROWID;
CREATE INDEX snooze_open ON snooze (node, camera, until_ms) WHERE ended_ms IS NULL;

-- Emergencies that commanders declared: live view of what is not shared live. Rows stay.
CREATE TABLE emergency (
  id TEXT PRIMARY KEY,
  cameras TEXT,                         -- JSON: [[node, camera], …]; NULL: all
  reason TEXT NOT NULL,
  by_user TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  ended_ms INTEGER                      -- somebody ended it before its time
) STRICT, WITHOUT ROWID;

-- What receivers of webhooks have not been told yet. A row is written with what it tells of, goes when the receiver has
-- taken it, and is kept for some days when it was given up.
CREATE TABLE webhook_delivery (
  id TEXT PRIMARY KEY,                  -- UUID; what the receiver knows it by
  webhook TEXT NOT NULL,                -- its name in the configuration
  body TEXT NOT NULL,                   -- as it is sent, each time the same
  created_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_ms INTEGER,                      -- when it is tried next; NULL: it was given up
  given_up_ms INTEGER,
  detail TEXT                           -- why the last attempt failed
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_next ON webhook_delivery (next_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX webhook_standing ON webhook_delivery (webhook, created_ms, next_ms, given_up_ms);
CREATE INDEX webhook_given_up ON webhook_delivery (given_up_ms) WHERE given_up_ms IS NOT NULL;
