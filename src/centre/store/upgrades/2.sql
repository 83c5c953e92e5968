-- Version 1 to 2: enrolled nodes, clips, commands and holds, descriptions of cameras; events by facets; triage; accounts and the access log. Frozen; what the tables mean stands in schema.sql.

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
CREATE INDEX clip_command ON clip (command) WHERE command <> '';
CREATE INDEX clip_camera ON clip (node, camera, from_ms);

CREATE TABLE command (
  id TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  kind TEXT NOT NULL,
  issuer TEXT NOT NULL,
  reason TEXT NOT NULL,
  body TEXT NOT NULL,
  issued_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  state TEXT NOT NULL,
  answer TEXT,
  answered_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX command_pending ON command (node, expires_ms) WHERE state = 'pending';
CREATE INDEX command_issued ON command (issued_ms);

CREATE TABLE hold (
  id TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  issuer TEXT NOT NULL,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_camera ON hold (node, camera, from_ms);

CREATE TABLE camera_info (
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  revision INTEGER NOT NULL,
  json TEXT NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (node, camera)
) STRICT, WITHOUT ROWID;

CREATE TABLE facet (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  rule TEXT NOT NULL,
  kind TEXT NOT NULL,
  severity TEXT NOT NULL,
  label TEXT NOT NULL,
  phase TEXT NOT NULL,
  state TEXT NOT NULL,
  newest_ms INTEGER NOT NULL,
  UNIQUE (node, camera, rule, kind, severity, label, phase, state)
) STRICT;
INSERT INTO facet (node, camera, rule, kind, severity, label, phase, state, newest_ms)
  SELECT node, camera, rule, kind, severity, label, phase, 'new', MAX(started_ms) FROM event
  GROUP BY node, camera, rule, kind, severity, label, phase;
ALTER TABLE event ADD COLUMN facet INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN waiting_ms INTEGER;
UPDATE event SET facet = (
  SELECT f.id FROM facet f
  WHERE f.node = event.node AND f.camera = event.camera AND f.rule = event.rule AND f.kind = event.kind
    AND f.severity = event.severity AND f.label = event.label AND f.phase = event.phase);
DROP INDEX event_started;
DROP INDEX event_camera;
CREATE INDEX event_started ON event (started_ms, node, id, facet);
CREATE INDEX event_facet ON event (facet, started_ms, node, id);

CREATE TABLE user (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  folded TEXT NOT NULL UNIQUE,
  display_name TEXT NOT NULL,
  role TEXT NOT NULL,
  cameras INTEGER NOT NULL,
  password TEXT,
  disabled INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  last_login_ms INTEGER,
  totp TEXT,
  totp_step INTEGER,
  totp_begun TEXT,
  totp_begun_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE user_camera (
  user TEXT NOT NULL REFERENCES user (id),
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  PRIMARY KEY (user, node, camera)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  token_sha256 TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  user TEXT NOT NULL REFERENCES user (id),
  created_ms INTEGER NOT NULL,
  last_seen_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  address TEXT NOT NULL,
  user_agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session (user, created_ms);

CREATE TABLE login_link (
  token_sha256 TEXT PRIMARY KEY,
  user TEXT NOT NULL REFERENCES user (id),
  kind TEXT NOT NULL,
  expires_ms INTEGER NOT NULL,
  UNIQUE (user, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE login_failure (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  count INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_failure_last ON login_failure (kind, last_ms);

CREATE TABLE access_log (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  user TEXT,
  session TEXT,
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
CREATE INDEX event_waiting ON event (waiting_ms) WHERE waiting_ms IS NOT NULL;

CREATE TABLE triage (
  node TEXT NOT NULL,
  event TEXT NOT NULL,
  state TEXT NOT NULL,
  verdict TEXT,
  owner TEXT,
  version INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  escalated_ms INTEGER,
  incident TEXT,
  PRIMARY KEY (node, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE triage_history (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  event TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  deed TEXT NOT NULL,
  by_user TEXT,
  text TEXT,
  verdict TEXT
) STRICT;
CREATE INDEX triage_history_event ON triage_history (node, event, id);
CREATE INDEX triage_history_at ON triage_history (at_ms);

CREATE TABLE snooze (
  id TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  camera TEXT NOT NULL,
  rule TEXT,
  until_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  by_user TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  ended_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX snooze_open ON snooze (node, camera, until_ms) WHERE ended_ms IS NULL;

CREATE TABLE emergency (
  id TEXT PRIMARY KEY,
  cameras TEXT,
  reason TEXT NOT NULL,
  by_user TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  ended_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_delivery (
  id TEXT PRIMARY KEY,
  webhook TEXT NOT NULL,
  body TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_ms INTEGER,
  given_up_ms INTEGER,
  detail TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_next ON webhook_delivery (next_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX webhook_standing ON webhook_delivery (webhook, created_ms, next_ms, given_up_ms);
CREATE INDEX webhook_given_up ON webhook_delivery (given_up_ms) WHERE given_up_ms IS NOT NULL;
