// A camera as its node's document has it, being changed. What the page has no field for stays as it came; what is left
// at its default is not written.

import { crossesItself, FEWEST_CORNERS, MOST_CORNERS } from './geometry';
import { NAME, suggestName } from './identify';
import type { Line, Point, Zone } from './types';

/** The table `[camera.detect]` or `[camera.record]`. Passwords come in never, and go out only when they are typed. */
export interface StreamTable {
  url?: string;
  url_withheld?: boolean;
  host?: string;
  user?: string;
  password?: string;
  password_set?: boolean;
  transport?: string;
  latency_ms?: number;
  tls_pin?: string;
  fps?: number;
  [key: string]: unknown;
}

export interface RuleTable {
  name: string;
  kind: string;
  severity?: string;
  schedule?: string;
  labels?: string[];
  zones?: string[];
  line?: string;
  direction?: string;
  dwell_seconds?: number;
  [key: string]: unknown;
}

export interface RecordingTable { mode?: string; schedule?: string; audio?: boolean; [key: string]: unknown }

export interface CameraTable {
  id: string;
  name?: string;
  area?: string;
  position?: Point;
  sharing?: string;
  detect: StreamTable;
  record?: StreamTable;
  recording?: RecordingTable;
  mask?: { polygon: Point[]; [key: string]: unknown }[];
  zone?: (Zone & { [key: string]: unknown })[];
  line?: (Line & { [key: string]: unknown })[];
  rule?: RuleTable[];
  [key: string]: unknown;
}

export interface Window { days?: string[]; from: string; to: string; [key: string]: unknown }
export interface ScheduleTable { name: string; windows: Window[]; [key: string]: unknown }

export interface CamerasDocument {
  node: string;
  revision: number;
  cameras: CameraTable[];
  schedules: ScheduleTable[];
  labels: string[];
}

export type Edit =
  | { edit: 'put'; camera: CameraTable }
  | { edit: 'remove'; id: string }
  | { edit: 'put_schedule'; schedule: ScheduleTable }
  | { edit: 'remove_schedule'; name: string };

/** What is being changed: one camera, and the schedules that its rules may use. */
export interface Draft { camera: CameraTable; schedules: ScheduleTable[] }

export type ShapeKind = 'zone' | 'line' | 'mask';
export interface ShapeRef { kind: ShapeKind; at: number }
export interface Shape extends ShapeRef { name: string; points: Point[] }

export const KINDS = ['intrusion', 'line_crossing', 'loitering'] as const;
export const SHARINGS = ['listed', 'on_request', 'events_only', 'scheduled_live'] as const;
export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

/** Keys that only some kinds of rules have: with another kind they would be refused. */
const OF_KIND: Record<string, readonly string[]> = {
  zones: ['intrusion', 'loitering'],
  grace_seconds: ['intrusion', 'loitering'],
  min_move: ['intrusion'],
  dwell_seconds: ['loitering'],
  line: ['line_crossing'],
  direction: ['line_crossing'],
  margin: ['line_crossing'],
};

export const hasKey = (kind: string, key: string) => OF_KIND[key]?.includes(kind) ?? true;

/** A table with one key changed; what is empty is left out. */
export function put<T extends object>(table: T, key: string, value: unknown): T {
  const changed = { ...table } as Record<string, unknown>;
  if (value === undefined || value === null || value === '' || (typeof value === 'number' && Number.isNaN(value))) delete changed[key];
  else changed[key] = value;
  return changed as T;
}

const replaced = <T>(list: readonly T[], at: number, by: T): T[] => list.map((x, i) => (i === at ? by : x));
const without = <T>(list: readonly T[], at: number): T[] => list.filter((_, i) => i !== at);

// --- Shapes ---

export function shapes(camera: CameraTable): Shape[] {
  return [
    ...(camera.zone ?? []).map((z, at): Shape => ({ kind: 'zone', at, name: z.name, points: z.polygon })),
    ...(camera.line ?? []).map((l, at): Shape => ({ kind: 'line', at, name: l.name, points: l.points })),
    ...(camera.mask ?? []).map((m, at): Shape => ({ kind: 'mask', at, name: String(at + 1), points: m.polygon })),
  ];
}

export function setPoints(camera: CameraTable, { kind, at }: ShapeRef, points: Point[]): CameraTable {
  if (kind === 'line') return { ...camera, line: (camera.line ?? []).map((l, i) => (i === at ? { ...l, points } : l)) };
  if (kind === 'zone') return { ...camera, zone: (camera.zone ?? []).map((z, i) => (i === at ? { ...z, polygon: points } : z)) };
  return { ...camera, mask: (camera.mask ?? []).map((m, i) => (i === at ? { ...m, polygon: points } : m)) };
}

export function shapeNames(camera: CameraTable): string[] {
  return [...(camera.zone ?? []), ...(camera.line ?? [])].map((s) => s.name);
}

export function addShape(camera: CameraTable, kind: ShapeKind, points: Point[], word: string): [CameraTable, ShapeRef] {
  const name = suggestName(word, shapeNames(camera), kind);
  if (kind === 'mask') return [{ ...camera, mask: [...(camera.mask ?? []), { polygon: points }] }, { kind, at: camera.mask?.length ?? 0 }];
  if (kind === 'line') return [{ ...camera, line: [...(camera.line ?? []), { name, points }] }, { kind, at: camera.line?.length ?? 0 }];
  return [{ ...camera, zone: [...(camera.zone ?? []), { name, polygon: points }] }, { kind, at: camera.zone?.length ?? 0 }];
}

/** Rules follow the new name. */
export function renameShape(camera: CameraTable, { kind, at }: ShapeRef, name: string): CameraTable {
  if (kind === 'mask') return camera;
  const old = camera[kind]?.[at]?.name;
  const list = (camera[kind] ?? []).map((s, i) => (i === at ? { ...s, name } : s));
  const rule = camera.rule?.map((r) => {
    if (old === undefined) return r;
    if (kind === 'line') return r.line === old ? { ...r, line: name } : r;
    return r.zones?.includes(old) ? { ...r, zones: r.zones.map((z) => (z === old ? name : z)) } : r;
  });
  return { ...camera, [kind]: list, ...(rule ? { rule } : {}) };
}

/** Rules forget it; one that has nothing left to look at says so. */
export function removeShape(camera: CameraTable, { kind, at }: ShapeRef): CameraTable {
  const list = without<object>(camera[kind] ?? [], at);
  const left = put(camera, kind, list.length > 0 ? list : undefined);
  const name = kind === 'mask' ? undefined : camera[kind]?.[at]?.name;
  if (name === undefined || !camera.rule) return left;
  const rule = camera.rule.map((r) => {
    if (kind === 'line') return r.line === name ? put(r, 'line', undefined) : r;
    return r.zones?.includes(name) ? { ...r, zones: r.zones.filter((z) => z !== name) } : r;
  });
  return { ...left, rule };
}

// --- Rules ---

export function addRule(camera: CameraTable, kind: string, word: string, over?: ShapeRef): CameraTable {
  const rules = camera.rule ?? [];
  const rule: RuleTable = { name: suggestName(word, rules.map((r) => r.name), 'quy-tac'), kind };
  if (kind === 'line_crossing') {
    const line = over?.kind === 'line' ? camera.line?.[over.at] : camera.line?.[0];
    if (line) rule.line = line.name;
  } else {
    const zone = over?.kind === 'zone' ? camera.zone?.[over.at] : camera.zone?.[0];
    rule.zones = zone ? [zone.name] : [];
    if (kind === 'loitering') rule.dwell_seconds = 60;
  }
  return { ...camera, rule: [...rules, rule] };
}

export function setRule(camera: CameraTable, at: number, key: string, value: unknown): CameraTable {
  const rules = camera.rule ?? [];
  const rule = rules[at];
  return rule ? { ...camera, rule: replaced(rules, at, put(rule, key, value)) } : camera;
}

export function setRuleKind(camera: CameraTable, at: number, kind: string): CameraTable {
  const rules = camera.rule ?? [];
  const old = rules[at];
  if (!old) return camera;
  const kept = Object.fromEntries(Object.entries(old).filter(([key]) => hasKey(kind, key)));
  const rule = { ...kept, name: old.name, kind } as RuleTable;
  if (hasKey(kind, 'zones')) rule.zones ??= camera.zone?.[0] ? [camera.zone[0].name] : [];
  if (kind === 'loitering') rule.dwell_seconds ??= 60;
  if (kind === 'line_crossing' && !rule.line && camera.line?.[0]) rule.line = camera.line[0].name;
  return { ...camera, rule: replaced(rules, at, rule) };
}

export function removeRule(camera: CameraTable, at: number): CameraTable {
  const rules = without(camera.rule ?? [], at);
  return put(camera, 'rule', rules.length > 0 ? rules : undefined);
}

// --- Streams ---

export type StreamName = 'detect' | 'record';

/** Another address takes the place of one that is kept from us; a password belongs to the host it was given for. */
export function setStream(camera: CameraTable, which: StreamName, key: string, value: unknown): CameraTable {
  const stream = put(camera[which] ?? {}, key, value);
  return { ...camera, [which]: stream };
}

/** Empty is said, not left out: there is to be no password any more. */
export function forgetPassword(camera: CameraTable, which: StreamName): CameraTable {
  return { ...camera, [which]: { ...camera[which], password: '' } };
}

/** The node keeps a password only for the same host, port and user, and no less protected on its way. */
export function keepsPassword(old: StreamTable | undefined, now: StreamTable): boolean {
  if (!old?.password_set || now.password !== undefined) return false;
  if ((old.user ?? '') !== (now.user ?? '')) return false;
  if (old.url?.startsWith('rtsps:') && now.url?.startsWith('rtsp:')) return false;
  return now.url === undefined || hostOf(now.url) === (old.url === undefined ? (old.host ?? null) : hostOf(old.url));
}

export function hostOf(url: string): string | null {
  const m = /^(rtsps?):\/\/(?:[^@/?#]*@)?([^/?#]+)/i.exec(url.trim());
  if (!m) return null;
  const host = m[2]!.toLowerCase();
  return /:\d+$/.test(host) ? host : `${host}:${m[1]!.toLowerCase() === 'rtsps' ? 322 : 554}`;
}

/** A vendor's address for a host, which may say another port. Some makers want the account in it. */
export function vendorUrl(template: string, host: string, user = '', password = ''): string {
  const at = /:\d+$/.test(host) ? template.replace(/\{host\}(:\d+)?/, () => host) : template.replace('{host}', () => host);
  return at.replaceAll('{user}', () => encodeURIComponent(user)).replaceAll('{password}', () => encodeURIComponent(password));
}

/** Whether its address has the account in it: without one there is no address. */
export const wantsAccount = (template: string) => template.includes('{password}');

// --- Out and in ---

function outgoingStream(stream: StreamTable, before: StreamTable | undefined): StreamTable {
  const { password_set: _set, host: _host, url_withheld: _withheld, ...out } = stream;
  // A user that is not said is the one that was.
  return before?.user && stream.user === undefined ? { ...out, user: '' } : out;
}

/** A camera as it is sent: what the node only tells us is left out. */
export function outgoing(camera: CameraTable, before?: CameraTable): CameraTable {
  const out = { ...camera, detect: outgoingStream(camera.detect, before?.detect) };
  if (camera.record) out.record = outgoingStream(camera.record, before?.record);
  return out;
}

/** For a rehearsal: where its pictures come from does not matter there. */
export function rehearsable(camera: CameraTable): CameraTable {
  const { record: _record, recording: _recording, ...rest } = camera;
  return { ...rest, detect: camera.detect.fps === undefined ? {} : { fps: camera.detect.fps } };
}

/** To be put aside: no password goes along. */
export function withoutPasswords(camera: CameraTable): CameraTable {
  const bare = (stream: StreamTable) => put(stream, 'password', undefined);
  return { ...camera, detect: bare(camera.detect), ...(camera.record ? { record: bare(camera.record) } : {}) };
}

export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => k in b && same((a as never)[k], (b as never)[k]));
}

/** From the draft to what the node is asked: schedules before the camera that names them, and gone after it. */
export function edits(before: Draft, now: Draft): Edit[] {
  const list: Edit[] = [];
  for (const schedule of now.schedules) {
    if (!same(before.schedules.find((s) => s.name === schedule.name), schedule)) list.push({ edit: 'put_schedule', schedule });
  }
  if (!same(before.camera, now.camera)) list.push({ edit: 'put', camera: outgoing(now.camera, before.camera) });
  for (const { name } of before.schedules) {
    if (!now.schedules.some((s) => s.name === name)) list.push({ edit: 'remove_schedule', name });
  }
  return list;
}

/** My drawing over the newer document: what I did not touch is as it is there now. */
export function rebase(before: Draft, mine: Draft, theirs: Draft): Draft {
  const camera: CameraTable = { ...theirs.camera };
  for (const key of new Set([...Object.keys(before.camera), ...Object.keys(mine.camera)])) {
    if (same(before.camera[key], mine.camera[key])) continue;
    if (key in mine.camera) camera[key] = mine.camera[key];
    else delete camera[key];
  }
  const untouched = theirs.schedules.filter((s) => {
    const was = before.schedules.find((b) => b.name === s.name);
    return same(was, mine.schedules.find((m) => m.name === s.name));
  });
  const touched = mine.schedules.filter((m) => !same(before.schedules.find((b) => b.name === m.name), m));
  return { camera, schedules: [...untouched, ...touched] };
}

// --- What the page can see to be wrong, before the node is asked ---

export interface Complaint { key: string; what: string; warn?: boolean }

export function complaints({ camera, schedules }: Draft): Complaint[] {
  const list: Complaint[] = [];
  const names = new Set<string>();
  const named = (key: string, name: string) => {
    if (!NAME.test(name)) list.push({ key, what: 'name' });
    else if (names.has(name)) list.push({ key, what: 'twice' });
    names.add(name);
  };
  for (const kind of ['zone', 'line'] as const) {
    names.clear();
    camera[kind]?.forEach((s, i) => named(`${kind}[${i}].name`, s.name));
  }
  for (const s of shapes(camera)) {
    const key = `${s.kind}[${s.at}]`;
    if (s.kind === 'line' ? s.points.length !== 2 : s.points.length < FEWEST_CORNERS || s.points.length > MOST_CORNERS) list.push({ key, what: 'corners' });
    else if (s.kind === 'line' ? same(s.points[0], s.points[1]) : false) list.push({ key, what: 'corners' });
    else if (s.kind !== 'line' && crossesItself(s.points)) list.push({ key, what: 'crosses', warn: true });
  }
  names.clear();
  camera.rule?.forEach((r, i) => {
    const key = `rule[${i}]`;
    named(`${key}.name`, r.name);
    if (hasKey(r.kind, 'zones') && hasKey(r.kind, 'grace_seconds') && !(r.zones?.length)) list.push({ key: `${key}.zones`, what: 'zones' });
    if (r.zones && r.zones.length > 8) list.push({ key: `${key}.zones`, what: 'zones_many' });
    if (r.kind === 'line_crossing' && !r.line) list.push({ key: `${key}.line`, what: 'line' });
    if (r.kind === 'loitering' && !(Number(r.dwell_seconds) >= 1)) list.push({ key: `${key}.dwell_seconds`, what: 'dwell' });
    if (r.labels && r.labels.length === 0) list.push({ key: `${key}.labels`, what: 'labels' });
    if (r.schedule && !schedules.some((s) => s.name === r.schedule)) list.push({ key: `${key}.schedule`, what: 'schedule' });
  });
  for (const which of ['detect', 'record'] as const) {
    const stream = camera[which];
    if (!stream) continue;
    if (stream.url === undefined ? !stream.url_withheld : hostOf(stream.url) === null) list.push({ key: `${which}.url`, what: 'url' });
  }
  names.clear();
  schedules.forEach((s, i) => {
    named(`schedule[${i}].name`, s.name);
    if (s.windows.length === 0 || s.windows.some((w) => !TIME.test(w.from) || w.from === '24:00' || !TIME.test(w.to) || w.days?.length === 0)) list.push({ key: `schedule[${i}].windows`, what: 'windows' });
  });
  return list;
}

const TIME = /^(([01]\d|2[0-3]):[0-5]\d|24:00)$/;

/** A window that ends on the next day. */
export const overnight = (w: Window) => w.to <= w.from && w.to !== '24:00';

/** Whether what the node complains of (`rule[0].zones`, `detect.url`, or less) is about this field. */
export function about(complaint: string, field: string): boolean {
  const plain = (text: string) => text.replace(/\[(\d+)\]/g, '.$1').replace(/^camera\./, '').toLowerCase();
  const c = plain(complaint);
  const f = plain(field);
  return c === f || c.startsWith(`${f}.`);
}
