// What the API says, as it says it. Times are UTC milliseconds.

export type Severity = 'alert' | 'notice';
export type Phase = 'started' | 'updated' | 'ended';
export type TriageState = 'new' | 'owned' | 'dispatched' | 'resolved';
export type Verdict = 'true_alarm' | 'false_alarm';
export type Role = 'owner' | 'duty_officer' | 'commander' | 'investigator' | 'technician' | 'auditor';
export type Action =
  | 'event.view' | 'snapshot.view' | 'clip.view' | 'recording.view' | 'live.view' | 'search' | 'export'
  | 'triage' | 'note' | 'clip.ask' | 'hold' | 'snooze' | 'emergency' | 'camera.view' | 'camera.edit'
  | 'node.view' | 'report.view' | 'user.view' | 'user.edit' | 'log.view';
export type Point = [number, number];
export type Box = [left: number, top: number, right: number, bottom: number];
export type CameraKey = [node: string, camera: string];

export interface Person { id: string; display_name: string }

/** How far clocks are ahead of UTC, from `from_ms` until before `to_ms`; null: without end. */
export interface UtcOffset { seconds: number; from_ms: number | null; to_ms: number | null }

export interface Site {
  ward: string;
  ward_name: string;
  timezone: string;
  utc_offset: UtcOffset;
  version: string;
  setup_needed: boolean;
  now_ms: number;
}

export interface Me {
  user: { id: string; name: string; display_name: string; role: Role };
  /** A code is asked for at login. */
  totp: boolean;
  may: Action[];
  cameras: CameraKey[] | null;
  expires_ms: number;
}

export interface Triage {
  state: TriageState;
  verdict: Verdict | null;
  owner: Person | null;
  version: number;
  updated_ms: number | null;
  escalated: boolean;
  snoozed: boolean;
  incident: string | null;
}

export interface EventSummary {
  node: string;
  id: string;
  camera: string | null;
  camera_name: string;
  area: string;
  revision: number;
  phase: Phase;
  severity: Severity;
  kind: string;
  rule: string;
  label: string | null;
  started_ms: number;
  updated_ms: number;
  ended_ms: number | null;
  snapshot: string | null;
  has_snapshot: boolean;
  has_clip: boolean;
  /** The object in the picture: left, top, right, bottom as fractions of it. */
  box?: Box | null;
  committed_ms: number;
  first_committed_ms: number;
  triage: Triage;
}

export interface Zone { name: string; polygon: Point[] }
export interface Line { name: string; points: Point[] }

// The event as its node published it: docs/event.schema.json.
export interface EventJson {
  id: string;
  node: string;
  camera?: string | null;
  message?: { vi: string; en: string } | null;
  best_at: string;
  clock_suspect: boolean;
  config_revision: number;
  zones: Zone[];
  line?: Line | null;
  direction?: 'left_to_right' | 'right_to_left' | null;
  score: number;
  count: number;
  tracks: number[];
  box?: Box | null;
  path: [number, number, number][];
  snapshot?: { sha256: string; bytes: number; width: number; height: number } | null;
  model?: string | null;
}

export interface Clip {
  sha256: string;
  bytes: number;
  from_ms: number;
  to_ms: number;
  masked: boolean;
  complete: boolean;
}

export interface HistoryItem {
  at_ms: number;
  kind: string;
  by: Person | null;
  text: string | null;
  verdict?: Verdict | null;
  revision?: number | null;
}

export interface Why {
  rule: string;
  kind: string;
  zone: string | null;
  line: string | null;
  dwell_seconds: number | null;
  score: number | null;
  label: string | null;
  schedule: string | null;
  config_revision: number;
}

export interface EventDetail {
  summary: EventSummary;
  event: EventJson;
  snapshots: { sha256: string; bytes: number; committed_ms: number; available: boolean }[];
  clips: Clip[];
  history: HistoryItem[];
  nearby: EventSummary[];
  /** The others of its incident. */
  members: EventSummary[];
  why: Why;
}

export interface Counts {
  alerts: number;
  notices: number;
  new_alerts: number;
  owned: number;
  dispatched: number;
}

export interface Page<T> { items: T[]; next: string | null }

export type Sharing = 'listed' | 'on_request' | 'events_only' | 'scheduled_live';
export interface Rule {
  name: string;
  kind: string;
  severity: Severity;
  zones: string[];
  line: string | null;
  direction: string | null;
  schedule: string | null;
  dwell_seconds: number | null;
}

export interface Camera {
  node: string;
  camera: string;
  name: string;
  area: string;
  position: Point | null;
  /** Null: its node has not described it yet. */
  sharing: Sharing | null;
  state: string;
  fault: string | null;
  detail: string | null;
  since_ms: number | null;
  codec: string | null;
  width: number | null;
  height: number | null;
  fps: number | null;
  last_frame_ms: number | null;
  // False: the node is away, and what it said last is not the truth any more.
  current: boolean;
  recording: 'off' | 'events' | 'continuous' | null;
  zones: Zone[];
  lines: Line[];
  masks: Point[][];
  rules: Rule[];
  config_revision: number | null;
  may: { live: boolean; clip: boolean; snapshot: boolean };
  live_refused: string | null;
}

export interface NodeState {
  node: string;
  state: 'online' | 'stopping' | 'offline';
  version?: string | null;
  since_ms: number | null;
  cameras?: number;
  cameras_online?: number;
  current?: boolean;
}

export interface Broker { connected: boolean; trouble: string | null }
export interface Nodes {
  items: NodeState[];
  broker: Broker;
  store_trouble: string | null;
  clip_trouble: string | null;
}

export interface Snooze {
  id: string;
  node: string;
  camera: string;
  rule: string | null;
  until_ms: number;
  reason: string;
  by: Person;
  created_ms: number;
}

export type HoldState = 'pending' | 'held' | 'too_late' | 'released' | 'failed';
export interface Hold {
  id: string;
  node: string;
  camera: string;
  from_ms: number;
  camera_name: string;
  to_ms: number;
  /** The login name of whoever asked. */
  who: string;
  why: string;
  since_ms: number;
  state: HoldState;
  /** It may be released. */
  active: boolean;
}

export interface SessionItem {
  id: string;
  created_ms: number;
  last_seen_ms: number;
  expires_ms: number;
  address: string | null;
  user_agent: string | null;
  current: boolean;
}

export interface TotpBegun {
  secret: string;
  uri: string;
  /** An SVG of the address, where the centre makes one. */
  qr_svg?: string | null;
}

/** What the map lies on, if anything: a plan between two corners (south-west, north-east), or tiles. */
export interface MapGround {
  plan?: { corners: [Point, Point] } | null;
  tiles?: { min_zoom: number; max_zoom: number } | null;
}

export interface Emergency {
  id: string;
  cameras: CameraKey[] | null;
  reason: string;
  until_ms: number;
  by?: Person;
  created_ms?: number;
}

export interface Command {
  id: string;
  node: string;
  camera: string | null;
  kind: string;
  state: 'pending' | 'done' | 'failed' | 'refused' | 'expired';
  detail: string | null;
  clip: Clip | null;
  issued_ms: number;
}

export interface Recordings {
  segments: { from_ms: number; to_ms: number }[];
  gaps: { from_ms: number; to_ms: number; reason: string }[];
}

export interface Report {
  from_ms: number;
  to_ms: number;
  ward_name: string;
  counts: { alerts: number; notices: number; true_alarms: number; false_alarms: number; unresolved: number };
  by_camera: {
    node: string; camera: string | null; camera_name: string;
    alerts: number; notices: number; true_alarms: number; false_alarms: number;
  }[];
  by_officer: {
    user: Person | string; owned: number; dispatched: number; resolved: number; median_own_seconds: number | null;
  }[];
  open: EventSummary[];
  notes: { at_ms: number; by: Person | string | null; node: string; event: string; text: string }[];
  outages: { node: string; camera: string | null; state: string; since_ms: number | null }[];
}

export interface User {
  id: string;
  name: string;
  display_name: string;
  role: Role;
  cameras: CameraKey[] | null;
  disabled: boolean;
  created_ms: number;
  last_login_ms: number | null;
  /** A password was set. */
  ready?: boolean;
  totp: boolean;
}

export interface LogItem {
  at_ms: number;
  user: { id: string; display_name: string | null } | null;
  action: string;
  object: string | null;
  node: string | null;
  camera: string | null;
  session: string | null;
  reason: string | null;
  case: string | null;
}

export interface Rehearsed {
  from_ms: number;
  to_ms: number;
  /** Before is null of a new rule, after of one that is gone. */
  rules: { rule: string; before: number | null; after: number | null }[];
  firings: {
    rule: string; kind: string; severity: Severity; track: number | null; label: string | null; at_ms: number; end_ms: number | null;
  }[];
  tracks: { label: string; from_ms: number; to_ms: number; path: Point[]; fired: string[] }[];
  tracks_total: number;
  cut: boolean;
}

export type Probed =
  | {
      ok: true; codec: string; width: number; height: number; fps: number | null; keyframe_seconds?: number | null;
      kbit_s?: number | null; camera?: string | null; jpeg?: string | null;
    }
  | { ok: false; detail?: string | null; hint?: string | null };

export interface Device {
  address: string;
  name?: string | null;
  hardware?: string | null;
  vendor?: string | null;
  known?: string | null;
  xaddrs: string[];
}
