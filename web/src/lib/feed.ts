// The feed without the page: which of two states of an event is newer, what a filter lets through,
// in which order events are shown. Everything here is a plain function.

import { fold } from './format';
import { unresolved } from './triage';
import type { EventSummary, Page, Severity, Triage, TriageState } from './types';

export interface Filter {
  severity: Severity | null;
  states: TriageState[];
  cameras: string[];
  areas: string[];
  kinds: string[];
  text: string;
  from_ms: number | null;
  to_ms: number | null;
  /** The last so long, however late it gets; goes before `from_ms`. */
  within_ms: number | null;
}

export const NO_FILTER: Filter = {
  severity: null, states: [], cameras: [], areas: [], kinds: [], text: '', from_ms: null, to_ms: null, within_ms: null,
};

export const keyOf = (e: { node: string; id: string }) => `${e.node}/${e.id}`;
export const cameraOf = (e: { node: string; camera: string | null }) => `${e.node}/${e.camera ?? ''}`;

export function isFiltered(f: Filter): boolean {
  return (
    f.severity !== null || f.states.length > 0 || f.cameras.length > 0 || f.areas.length > 0 ||
    f.kinds.length > 0 || f.text.trim() !== '' || f.from_ms !== null || f.to_ms !== null || f.within_ms !== null
  );
}

/** As it stands in the address; the centre is asked with one that is `fixed`. */
export function filterQuery(f: Filter): Record<string, string | number | string[] | null> {
  return {
    severity: f.severity, state: f.states, camera: f.cameras, area: f.areas, kind: f.kinds,
    text: f.text.trim(), from_ms: f.from_ms, to_ms: f.to_ms, within_ms: f.within_ms,
  };
}

export const sameFilter = (a: Filter, b: Filter) => JSON.stringify(filterQuery(a)) === JSON.stringify(filterQuery(b));

/** "The last hour" as it is now. */
export function fixed(f: Filter, now_ms: number): Filter {
  return f.within_ms === null ? f : { ...f, from_ms: now_ms - f.within_ms, within_ms: null };
}

const within = (list: readonly string[], value: string) => list.length === 0 || list.includes(value);

/** Whether an event that just came belongs into a list with this filter. */
export function matches(e: EventSummary, f: Filter): boolean {
  if (f.severity !== null && e.severity !== f.severity) return false;
  if (!within(f.states, e.triage.state) || !within(f.areas, e.area) || !within(f.kinds, e.kind)) return false;
  if (f.cameras.length > 0 && !f.cameras.includes(cameraOf(e))) return false;
  if (f.from_ms !== null && e.started_ms < f.from_ms) return false;
  if (f.to_ms !== null && e.started_ms >= f.to_ms) return false;
  const wanted = fold(f.text).split(/\s+/).filter(Boolean);
  if (wanted.length === 0) return true;
  const text = fold([e.camera_name, e.area, e.rule, e.kind, e.label ?? '', e.camera ?? '', e.node, e.id].join(' '));
  return wanted.every((w) => text.includes(w));
}

/** Of two states of one event: the newer revision, with the newer triage. */
export function newer(have: EventSummary, came: EventSummary): EventSummary {
  const event = came.revision >= have.revision ? came : have;
  const triage = came.triage.version >= have.triage.version ? came.triage : have.triage;
  return event.triage === triage ? event : { ...event, triage };
}

export type Items = ReadonlyMap<string, EventSummary>;

export function upsert(items: Items, came: readonly EventSummary[]): Map<string, EventSummary> {
  const next = new Map(items);
  for (const e of came) {
    const have = next.get(keyOf(e));
    next.set(keyOf(e), have ? newer(have, e) : e);
  }
  return next;
}

export function withTriage(items: Items, node: string, id: string, triage: Triage): Items {
  const have = items.get(`${node}/${id}`);
  if (!have || triage.version < have.triage.version) return items;
  return new Map(items).set(keyOf(have), { ...have, triage });
}

export const isPinned = (e: EventSummary) => e.severity === 'alert' && unresolved(e.triage) && !e.triage.snoozed;
/** Nobody has it. */
export const calls = (e: EventSummary) => isPinned(e) && e.triage.state === 'new';

export interface Ordered { pinned: EventSummary[]; rest: EventSummary[] }

/** Alerts that wait on top: those nobody has first, the longest waiting first. Then the rest by time, newest first. */
export function ordered(items: Items, filter: Filter): Ordered {
  const pinned: EventSummary[] = [];
  const rest: EventSummary[] = [];
  for (const e of items.values()) {
    if (matches(e, filter)) (isPinned(e) ? pinned : rest).push(e);
  }
  const rank = (e: EventSummary) => (e.triage.state === 'new' ? 0 : e.triage.state === 'owned' ? 1 : 2);
  pinned.sort((a, b) => rank(a) - rank(b) || a.started_ms - b.started_ms || (a.id < b.id ? -1 : 1));
  rest.sort((a, b) => b.started_ms - a.started_ms || (a.id < b.id ? 1 : -1));
  return { pinned, rest };
}

/** An event older than the oldest one loaded waits for its page, lest the list has a hole above it. */
export function admissible(e: EventSummary, oldest_ms: number | null): boolean {
  return oldest_ms === null || e.started_ms >= oldest_ms || isPinned(e);
}

/** Keeps a list that runs all night from growing: the pinned and the newest `keep` stay once there are twice as many. */
export function trimmed(items: Items, keep: number): Items {
  let others = 0;
  for (const e of items.values()) if (!isPinned(e)) others += 1;
  if (others <= keep * 2) return items;
  const { pinned, rest } = ordered(items, NO_FILTER);
  return new Map([...pinned, ...rest.slice(0, keep)].map((e) => [keyOf(e), e]));
}

/**
 * The list after it was read anew. `known` is the list as it was when it was asked for, `pins` all alerts that wait, or, when
 * `pins.next` says that there are more, the newest of them. What came by the line meanwhile stays.
 */
export function reread(items: Items, known: Items, page: { items: EventSummary[]; met: boolean }, pins: Page<EventSummary> | null): Items {
  const waiting = new Set(pins?.items.map(keyOf));
  const reach = pins === null ? Infinity : pins.next === null ? -Infinity : Math.min(...pins.items.map((e) => e.started_ms));
  const stays = [...items].filter(([key, e]) => {
    if (known.get(key) !== e) return true;
    // One that waited and is not among those that do was dealt with, perhaps below the part of the list that was read.
    return page.met && !(isPinned(e) && e.started_ms > reach && !waiting.has(key));
  });
  return upsert(new Map(stays), [...(pins?.items ?? []), ...page.items]);
}

/**
 * Pages from the newest on, down to where the list reaches already: what happened while the line was lost may lie anywhere
 * in it. Not within so many pages: what lies further down is to be forgotten, lest the list has a hole.
 */
export async function downTo(
  first: Page<EventSummary>, oldest_ms: number | null, most: number, after: (cursor: string) => Promise<Page<EventSummary>>,
): Promise<{ items: EventSummary[]; next: string | null; met: boolean }> {
  const items = [...first.items];
  let next = first.next;
  const met = () => next === null || oldest_ms === null || items.at(-1)!.started_ms <= oldest_ms;
  for (let i = 0; i < most && next !== null && !met(); i += 1) {
    const page = await after(next);
    items.push(...page.items);
    next = page.next;
  }
  return { items, next, met: met() };
}
