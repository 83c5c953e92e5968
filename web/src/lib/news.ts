// What people are told of by sound and at the edge of the page, without the page: new alerts, alerts that nobody took in
// time, and how many came while the line was lost.

import { calls, keyOf } from './feed';
import type { EventSummary } from './types';

export type Told =
  | { what: 'alert' | 'overdue'; event: EventSummary }
  | { what: 'missed'; keys: readonly string[] };

/** An alert is news for so long after the centre had it. */
const FRESH_MS = 60_000;
const MOST = 5;

export const isFresh = (at_ms: number, now_ms: number) => now_ms - at_ms < FRESH_MS;

export const keyOfTold = (one: Told) => (one.what === 'missed' ? one.what : keyOf(one.event));

/** An alert that calls, committed within the last minute, not known before. */
export function isNews(e: EventSummary, known: boolean, now_ms: number): boolean {
  return !known && calls(e) && isFresh(e.first_committed_ms, now_ms);
}

/** One that came while nothing was heard of the centre, since `gap_ms`. */
export function isMissed(e: EventSummary, known: boolean, gap_ms: number | null): boolean {
  return !known && gap_ms !== null && calls(e) && e.first_committed_ms >= gap_ms;
}

export const isOverdue = (e: EventSummary) => calls(e) && e.triage.escalated;

/** What stands there once `came` is told, too: the newest first, each event once, those that were missed together. */
export function told(have: readonly Told[], came: readonly Told[]): readonly Told[] {
  let next = [...have];
  for (const one of came) {
    const before = next.find((o) => keyOfTold(o) === keyOfTold(one));
    next = next.filter((o) => o !== before);
    const both = one.what === 'missed' && before?.what === 'missed' ? { ...one, keys: [...new Set([...before.keys, ...one.keys])] } : one;
    next.unshift(both);
  }
  return next.slice(0, MOST);
}

/** Somebody saw to it. */
export function without(have: readonly Told[], key: string): readonly Told[] {
  const concerns = (one: Told) => (one.what === 'missed' ? one.keys.includes(key) : keyOf(one.event) === key);
  if (!have.some(concerns)) return have;
  return have.flatMap((one): Told[] => {
    if (!concerns(one)) return [one];
    const keys = one.what === 'missed' ? one.keys.filter((k) => k !== key) : [];
    return keys.length > 0 ? [{ what: 'missed', keys }] : [];
  });
}
