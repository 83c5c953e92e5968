import { describe, expect, test } from 'vitest';
import { keyOf } from '../../src/lib/feed';
import { pages } from '../../src/lib/pages';
import { latest } from '../../src/lib/pictures';
import { pruned, tally } from '../../src/lib/tally';
import type { EventSummary, Page } from '../../src/lib/types';

function event(id: string, change: Partial<EventSummary> = {}, state = 'new'): EventSummary {
  const triage = { state, verdict: null, owner: null, version: 0, updated_ms: null, escalated: false, snoozed: false, incident: null };
  return { node: 'n', id, camera: 'a', severity: 'notice', started_ms: 100, has_snapshot: true, snapshot: id, triage, ...change } as EventSummary;
}
const items = (...events: EventSummary[]) => new Map(events.map((e) => [keyOf(e), e]));

describe('what a map counts', () => {
  const all = items(
    event('1'), event('2', { severity: 'alert' }), event('3', { severity: 'alert', started_ms: 5 }), event('4', { severity: 'alert' }, 'resolved'),
    event('5', { started_ms: 5 }), event('6', { camera: 'b' }),
  );
  test('are events of the last day, and alerts that wait, however long', () => {
    expect([...tally(all, 50)]).toEqual([['n/a', { all: 3, waiting: 2 }], ['n/b', { all: 1, waiting: 0 }]]);
  });
  test('what is older goes, unless it waits; nothing new is nothing changed', () => {
    const less = pruned(all, 50);
    expect([...less.keys()]).toEqual(['n/1', 'n/2', 'n/3', 'n/4', 'n/6']);
    expect(pruned(less, 50)).toBe(less);
  });
});

test('a list is read to its end, or so far and says so', async () => {
  const asked: (string | null)[] = [];
  const ask = async (after: string | null): Promise<Page<number>> => {
    asked.push(after);
    const n = after === null ? 0 : Number(after);
    return { items: [n], next: n < 2 ? String(n + 1) : null };
  };
  expect(await pages(5, ask)).toEqual({ items: [0, 1, 2], cut: false });
  expect(asked).toEqual([null, '1', '2']);
  expect(await pages(2, ask)).toEqual({ items: [0, 1], cut: true });
});

test('a camera’s last picture is that of its newest event that has one', () => {
  const first = latest(new Map(), [event('1'), event('2', { started_ms: 200 }), event('3', { started_ms: 300, has_snapshot: false }), event('4', { camera: null })]);
  expect([...first].map(([key, e]) => [key, e.id])).toEqual([['n/a', '2']]);
  expect(latest(first, [event('2', { started_ms: 200 }), event('1')])).toBe(first);
  expect(latest(first, [event('2', { started_ms: 200, snapshot: 'better' })]).get('n/a')!.snapshot).toBe('better');
});
