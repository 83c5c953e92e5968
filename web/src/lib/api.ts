// The one place that speaks HTTP with the centre. Views call these functions and show an ApiError.

import type {
  Camera, CameraKey, Command, Counts, Device, Emergency, EventDetail, EventSummary, Hold, LogItem, MapGround, Me, Nodes, Page,
  Probed, Recordings, Rehearsed, Report, Role, SessionItem, Site, Snooze, TotpBegun, Triage, User, Verdict,
} from './types';
import type { CamerasDocument, CameraTable, Edit } from './draft';
import type { Vendor } from './csv';
import { early, forgetEarly, type Answer } from './early';
import type { TriageAction } from './triage';

export class ApiError extends Error {
  constructor(
    readonly code: string,
    readonly status: number,
    readonly body: Record<string, unknown> = {},
  ) {
    super(`${code} (${status})`);
    this.name = 'ApiError';
  }

  text(name: string): string | null {
    const value = this.body[name];
    return typeof value === 'string' && value !== '' ? value : null;
  }
}

const PREFIX = 'urn:wardwatch:problem:';

export function problem(status: number, body: unknown): ApiError {
  const known = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const type = typeof known['type'] === 'string' ? known['type'] : '';
  const code = type.startsWith(PREFIX) ? type.slice(PREFIX.length) : status >= 500 ? 'internal' : 'invalid';
  return new ApiError(code, status, known);
}

export type Query = Record<string, string | number | boolean | null | undefined | string[]>;

export function queryString(query: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === '') continue;
    if (Array.isArray(value)) value.forEach((v) => params.append(name, v));
    else params.append(name, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : '';
}

/** An address of the API, below whatever path the page is served from. */
export function url(path: string, query: Query = {}): string {
  return new URL(`api/v1/${path}${queryString(query)}`, document.baseURI).href;
}

export function socketUrl(path: string, query: Query): string {
  return url(path, query).replace(/^http/, 'ws');
}

const part = encodeURIComponent;
const TIMEOUT_MS = 20_000;

let onUnauthorized: () => void = () => {};
/** Told when a session that was there is no more. */
export function whenUnauthorized(handler: () => void): void {
  onUnauthorized = handler;
}

interface How { query?: Query; timeout_ms?: number; signal?: AbortSignal; headers?: Record<string, string> }

async function call<T>(method: string, path: string, body?: unknown, how: How = {}): Promise<T> {
  let answer: Answer;
  const timeout = AbortSignal.timeout(how.timeout_ms ?? TIMEOUT_MS);
  const init: RequestInit = { method, credentials: 'same-origin', signal: how.signal ? either(how.signal, timeout) : timeout };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'content-type': 'application/json', ...how.headers };
  }
  try {
    const address = url(path, how.query);
    answer = await (early(method, address) ?? read(address, init));
  } catch (cause) {
    if (how.signal?.aborted) throw new ApiError('aborted', 0);
    throw new ApiError(cause instanceof DOMException && cause.name === 'TimeoutError' ? 'timeout' : 'network', 0);
  }
  const { response, text } = answer;
  if (!response.ok) {
    const error = problem(response.status, parsed(text));
    const wait = response.headers.get('retry-after');
    if (wait) error.body['retry_after'] = wait;
    if (error.code === 'unauthorized') {
      forgetEarly();
      onUnauthorized();
    }
    throw error;
  }
  return (text ? JSON.parse(text) : undefined) as T;
}

async function read(address: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(address, init);
  return { response, text: await response.text() };
}

/** What a proxy in between says is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A picture that may not be there, with the moment it really shows. */
export async function fetchStill(address: string, signal: AbortSignal): Promise<{ blob: Blob; at_ms: number | null }> {
  let response: Response;
  try {
    response = await fetch(address, { credentials: 'same-origin', signal });
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new ApiError('network', 0);
  }
  if (!response.ok) {
    const error = problem(response.status, await response.json().catch(() => null));
    if (error.code === 'unauthorized') onUnauthorized();
    throw error;
  }
  const at = Number(response.headers.get('wardwatch-at-ms'));
  return { blob: await response.blob(), at_ms: at > 0 ? at : null };
}

/** Ends with whichever ends first. (`AbortSignal.any` is not in all browsers that we want.) */
function either(...signals: AbortSignal[]): AbortSignal {
  const both = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener('abort', () => both.abort(signal.reason), { once: true, signal: both.signal });
  }
  return both.signal;
}

const get = <T>(path: string, query?: Query) => call<T>('GET', path, undefined, query ? { query } : {});
const post = <T>(path: string, body: unknown, how: How = {}) => call<T>('POST', path, body, how);

const eventPath = (node: string, id: string) => `events/${part(node)}/${part(id)}`;
const cameraPath = (node: string, camera: string) => `cameras/${part(node)}/${part(camera)}`;

export const api = {
  site: () => get<Site>('site'),

  me: () => get<Me>('session'),
  login: (name: string, password: string, code?: string) => post<Me>('session', { name, password, code }),
  loginByLink: (token: string, password?: string, code?: string) => post<Me>('session/link', { token, password, code }),
  logout: () => call<void>('DELETE', 'session'),
  changePassword: (old: string, fresh: string) => call<void>('PUT', 'session/password', { old, new: fresh }),
  sessions: () => get<{ items: SessionItem[] }>('me/sessions').then(list),
  endSession: (id: string) => call<void>('DELETE', `me/sessions/${part(id)}`),
  beginTotp: (password: string) => post<TotpBegun>('me/totp', { password }),
  confirmTotp: (code: string) => call<void>('PUT', 'me/totp', { code }),
  removeTotp: (password: string) => call<void>('DELETE', 'me/totp', { password }),

  events: (query: Query) => get<Page<EventSummary>>('events', query),
  counts: (query: Query) => get<Counts>('events/counts', query),
  event: (node: string, id: string) => get<EventDetail>(eventPath(node, id)),
  triage: (node: string, id: string, body: { action: TriageAction; version: number; verdict?: Verdict; note?: string }) =>
    post<Triage>(`${eventPath(node, id)}/triage`, body),
  note: (node: string, id: string, text: string) => post<void>(`${eventPath(node, id)}/notes`, { text }),
  join: (node: string, id: string, other: { node: string; id: string }) =>
    post<Triage>(`${eventPath(node, id)}/join`, other),

  snoozes: () => get<Snooze[] | { items: Snooze[] }>('snoozes').then(list),
  snooze: (body: { node: string; camera: string; rule?: string; until_ms: number; reason: string }) =>
    post<Snooze>('snoozes', body),
  unsnooze: (id: string) => call<void>('DELETE', `snoozes/${part(id)}`),

  report: (from_ms: number, to_ms: number) => get<Report>('report', { from_ms, to_ms }),

  cameras: () => get<{ items: Camera[] }>('cameras').then(list),
  camera: (node: string, camera: string) => get<Camera>(cameraPath(node, camera)),
  nodes: () => get<Nodes>('nodes'),
  recordings: (node: string, camera: string, from_ms: number, to_ms: number) =>
    get<Recordings>(`${cameraPath(node, camera)}/recordings`, { from_ms, to_ms }),
  askClip: (node: string, camera: string, body: { from_ms: number; to_ms: number; reason: string; case?: string }) =>
    post<{ command: string }>(`${cameraPath(node, camera)}/clips`, body),
  hold: (node: string, camera: string, body: { from_ms: number; to_ms: number; reason: string; case?: string }) =>
    post<{ command: string }>(`${cameraPath(node, camera)}/holds`, body),
  holds: () => get<{ items: Hold[] }>('holds', { active: true, limit: 500 }).then(list),
  release: (id: string, reason: string) => call<{ command: string }>('DELETE', `holds/${part(id)}`, { reason }),
  command: (id: string) => get<Command>(`commands/${part(id)}`),

  // Asked of the node itself, which may be slow: it opens cameras and goes through a day of tracks.
  document: (node: string) => get<CamerasDocument>(`nodes/${part(node)}/document`),
  changeDocument: (node: string, revision: number, body: { edits: Edit[]; reason?: string; check?: boolean }) =>
    call<{ revision: number; checked: boolean }>('PATCH', `nodes/${part(node)}/document`, body, {
      headers: { 'if-match': `"${revision}"` }, timeout_ms: 60_000,
    }),
  rehearse: (node: string, body: { camera: CameraTable; from_ms?: number; to_ms?: number }, signal: AbortSignal) =>
    post<Rehearsed>(`nodes/${part(node)}/rehearsal`, body, { signal, timeout_ms: 60_000 }),
  probe: (node: string, body: { url: string; user?: string; password?: string; transport?: string; tls_pin?: string } | { camera: string; stream: 'detect' | 'record' }) =>
    post<Probed>(`nodes/${part(node)}/probe`, body, { timeout_ms: 35_000 }),
  discover: (node: string) => post<{ devices: Device[] }>(`nodes/${part(node)}/discovery`, {}).then((answer) => answer.devices),
  vendors: () => get<{ items: Vendor[] }>('vendors').then(list),

  emergencies: () => get<Emergency[] | { items: Emergency[] }>('emergencies').then(list),
  declareEmergency: (body: { cameras: CameraKey[] | null; reason: string; until_ms: number }) =>
    post<Emergency>('emergencies', body),
  endEmergency: (id: string) => call<void>('DELETE', `emergencies/${part(id)}`),

  users: () => get<{ items: User[] }>('users').then(list),
  addUser: (body: { name: string; display_name: string; role: Role; cameras?: CameraKey[] }) =>
    post<{ user: User; link_token: string; link_expires_ms: number }>('users', body),
  changeUser: (id: string, body: Partial<Pick<User, 'display_name' | 'role' | 'cameras' | 'disabled'>>) =>
    call<User>('PATCH', `users/${part(id)}`, body),
  endUserSessions: (id: string) => call<void>('DELETE', `users/${part(id)}/sessions`),
  removeUserTotp: (id: string) => call<void>('DELETE', `users/${part(id)}/totp`),
  userLink: (id: string) => post<{ link_token: string; link_expires_ms: number }>(`users/${part(id)}/link`, {}),

  map: () => get<MapGround>('map'),

  log: (query: Query) => get<Page<LogItem>>('log', query),

  // Addresses for <img>, <video> and downloads; the cookie goes with them.
  snapshotUrl: (node: string, id: string, sha256?: string) =>
    url(`${eventPath(node, id)}/snapshot`, sha256 ? { sha256 } : {}),
  // The hash is there so that a newer picture is another address.
  thumbnailUrl: (e: EventSummary) => url(`${eventPath(e.node, e.id)}/thumbnail`, { sha256: e.snapshot }),
  clipUrl: (node: string, id: string, sha256: string) => url(`${eventPath(node, id)}/clips/${part(sha256)}`),
  commandClipUrl: (command: string) => url(`commands/${part(command)}/clip`),
  pictureUrl: (node: string, camera: string, stamp: number) =>
    url(`${cameraPath(node, camera)}/picture`, { t: stamp }),
  stillUrl: (node: string, camera: string, at_ms: number, width: number) =>
    url(`${cameraPath(node, camera)}/still`, { at_ms, width }),
  planUrl: () => url('map/plan'),
  // Leaflet fills the braces in.
  tilesUrl: () => `${url('map/tiles')}/{z}/{x}/{y}`,
  csvUrl: (query: Query) => url('events.csv', query),
  wallUrl: (cameras: string[], fps: number) => socketUrl('live/wall', { camera: cameras, fps }),
  liveUrl: (camera: string, sub: boolean) => socketUrl('live/camera', { camera, stream: sub ? 'detect' : null }),
  streamUrl: () => url('stream'),
};

function list<T>(answer: T[] | { items: T[] }): T[] {
  return Array.isArray(answer) ? answer : answer.items;
}
