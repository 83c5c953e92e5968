// Rows of the access log in plain words: who reads it need not know how the centre writes it down.

import { dateTime, named, t, type Key } from './i18n.svelte';
import type { CameraKey } from './types';

export interface Row { action: string; object: string | null; node: string | null }

export interface Logged {
  /** What was done. */
  what: string;
  /** To what, of what; empty: that says the rest of the row. */
  of: string;
  /** The one event that it is about. */
  event: { node: string; id: string } | null;
}

const LONG = 90;
const EVENT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** What needs the right to change something, and changes nothing. */
const LOOKED: [action: string, shape: RegExp, words: Key][] = [
  ['camera.edit', /^document [^:]*$/, 'log.opened_document'],
  ['camera.edit', /^document, checked only/, 'log.checked_document'],
  ['camera.edit', /^rehearsal /, 'log.rehearsed'],
  ['camera.edit', /^discovery$/, 'log.discovered'],
  ['camera.edit', /^probe /, 'log.probed'],
  ['hold', /^holds$/, 'log.looked_at_holds'],
];

const THINGS: Record<string, Key> = {
  'live wall': 'log.wall', 'live wall end': 'log.wall_end', 'live stream': 'log.full', 'live stream end': 'log.full_end',
  'snooze all rules': 'log.snoozed', 'snooze ended': 'log.snooze_ended',
};

/** Their numbers say nothing to anybody. */
const NUMBERED: [shape: RegExp, words: Key][] = [
  [/^picture \S+$/, 'log.picture'], [/^recordings \S+$/, 'log.recordings'], [/^stills \S+$/, 'log.stills'],
  [/^release \S+$/, 'log.released'], [/^emergency \S+ declared$/, 'log.declared'], [/^emergency \S+ ended$/, 'log.ended'],
];

const SAYS_NOTHING_MORE = ['holds', 'users', 'discovery'];

/** What a filter names by a word of the program. */
const WORDED = ['severity', 'state', 'kind', 'label', 'phase', 'action'];

const shortened = (text: string) => (text.length > LONG ? `${text.slice(0, LONG)}…` : text);

function span(from: number | null, to: number | null): string {
  if (from !== null && to !== null) return `${dateTime(from)} – ${dateTime(to)}`;
  return from !== null ? `${t('app.from')} ${dateTime(from)}` : `${t('app.to')} ${dateTime(to!)}`;
}

/** A search, a filter: what it asked for. */
function asked(text: string, camera: (key: CameraKey) => string): string {
  let filter: Record<string, unknown>;
  try {
    filter = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // It was longer than what is written down.
    return shortened(text);
  }
  const { from_ms = null, to_ms = null, ...rest } = filter;
  const word = (name: string, value: string) => {
    if (name !== 'camera') return WORDED.includes(name) ? named(name, value) : value;
    const [node = '', id = ''] = value.split('/', 2);
    return camera([node, id]);
  };
  const parts = Object.entries(rest).map(([name, value]) =>
    `${named('asked', name)}: ${[value].flat().map((v) => word(name, String(v))).join(', ')}`);
  if (typeof from_ms === 'number' || typeof to_ms === 'number') {
    parts.unshift(span(typeof from_ms === 'number' ? from_ms : null, typeof to_ms === 'number' ? to_ms : null));
  }
  return parts.length === 0 ? t('log.everything') : parts.join('; ');
}

/** `camera` names one. */
export function logged(row: Row, camera: (key: CameraKey) => string): Logged {
  const object = row.object ?? '';
  const words = object.split(' ');
  const looked = LOOKED.find(([action, shape]) => action === row.action && shape.test(object));
  const what = looked ? t(looked[2]) : named('action', row.action);
  const last = words.at(-1)!;
  const event = row.node !== null && row.action !== 'hold' && EVENT.test(last) && words.filter((w) => EVENT.test(w)).length === 1
    ? { node: row.node, id: last } : null;
  return { what, of: of(object, words, event !== null, camera), event };
}

function of(object: string, words: string[], event: boolean, camera: (key: CameraKey) => string): string {
  const [first = '', ...rest] = words;
  if (SAYS_NOTHING_MORE.includes(object) || (first === 'rehearsal' && rest.length === 1)) return '';
  // The node whose it is.
  if (first === 'document' && rest.length === 1) return rest[0]!;
  if (object in THINGS) return t(THINGS[object]!);
  if (object.startsWith('{')) return asked(object, camera);
  if (first === 'log') return asked(object.slice('log '.length), camera);
  if (first === 'thumbnails' && rest.length > 1) return t('log.thumbnails', { n: rest.length });
  if (event && words.length === 1) return t('event.title');
  if (event && words.length === 2) return named('did', first === 'thumbnail' ? 'thumbnails' : first);
  if (['report', 'clip.ask', 'hold'].includes(first) && rest.length === 2 && rest.every((w) => /^\d+$/.test(w))) {
    return span(Number(rest[0]), Number(rest[1]));
  }
  if (first === 'from' && rest.length === 1) return t('log.from', { address: rest[0]! });
  const numbered = NUMBERED.find(([shape]) => shape.test(object));
  return numbered ? t(numbered[1]) : shortened(object);
}
