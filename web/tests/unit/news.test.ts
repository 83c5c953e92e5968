import { beforeEach, describe, expect, test, vi } from 'vitest';
import { isNews, told, without, type Told } from '../../src/lib/news';
import { News } from '../../src/lib/news.svelte';
import type { EventSummary, Triage } from '../../src/lib/types';

const played = vi.hoisted(() => [] as string[]);
vi.mock('../../src/lib/sound.svelte', () => ({ sound: { play: (tune: string) => played.push(tune) } }));

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;
const triage = (change: Partial<Triage> = {}): Triage =>
  ({ state: 'new', verdict: null, owner: null, version: 0, updated_ms: null, escalated: false, snoozed: false, incident: null, ...change });

function event(id: string, change: Partial<EventSummary> = {}, of: Partial<Triage> = {}): EventSummary {
  return {
    node: 'n', id, camera: 'c', camera_name: 'Đầu ngõ 12', area: 'Tổ 5', revision: 1, phase: 'started', severity: 'alert', kind: 'intrusion', rule: 'r',
    label: 'person', started_ms: NOW, updated_ms: NOW, ended_ms: null, snapshot: null, has_snapshot: false, has_clip: false, committed_ms: NOW,
    first_committed_ms: NOW, ...change, triage: triage(of),
  };
}

const words = (list: readonly Told[]) => list.map((o) => (o.what === 'missed' ? `missed ${o.keys.length}` : `${o.what} ${o.event.id}`));

let news: News;
const stands = () => words(news.told);
beforeEach(() => {
  news = new News();
  played.length = 0;
});

test('news is an alert nobody has, told once, and not one that was there long before', () => {
  expect(isNews(event('a'), false, NOW + 1_000)).toBe(true);
  expect(isNews(event('a'), true, NOW)).toBe(false);
  expect(isNews(event('a', { severity: 'notice' }), false, NOW)).toBe(false);
  expect(isNews(event('a', {}, { state: 'owned' }), false, NOW)).toBe(false);
  expect(isNews(event('a', {}, { snoozed: true }), false, NOW)).toBe(false);
  expect(isNews(event('a'), false, NOW + 61_000)).toBe(false);
});

describe('what stands at the edge', () => {
  const alert = (id: string): Told => ({ what: 'alert', event: event(id) });

  test('is the newest first, five at most, each event once', () => {
    expect(words(told([alert('a')], [alert('b'), alert('c')]))).toEqual(['alert c', 'alert b', 'alert a']);
    expect(told([], ['a', 'b', 'c', 'd', 'e', 'f'].map(alert)).length).toBe(5);
    expect(words(told([alert('b'), alert('a')], [{ what: 'overdue', event: event('a') }]))).toEqual(['overdue a', 'alert b']);
  });

  test('what was missed stands together, and goes as it is dealt with', () => {
    const both = told([{ what: 'missed', keys: ['n/a', 'n/b'] }], [{ what: 'missed', keys: ['n/b', 'n/c'] }]);
    expect(words(both)).toEqual(['missed 3']);
    expect(words(without(both, 'n/a'))).toEqual(['missed 2']);
    expect(without([{ what: 'missed', keys: ['n/a'] }, alert('a')], 'n/a')).toEqual([]);
    expect(without(both, 'n/z')).toBe(both);
  });
});

describe('an alert', () => {
  test('is told and heard once, and no more once somebody has it', () => {
    expect(news.heard([event('a'), event('b', { severity: 'notice' })], NOW)).toBe(1);
    expect([stands(), played]).toEqual([['alert a'], ['alert']]);
    expect(news.heard([event('a', { revision: 2 })], NOW + 5_000)).toBe(0);
    expect(played).toEqual(['alert']);
    news.triaged('n', 'a', triage({ state: 'owned', version: 1 }));
    expect(stands()).toEqual([]);
    expect(words(news.latest)).toEqual(['alert a']);
  });

  test('that a list showed first is news all the same: the line is about to tell it', () => {
    news.seen([event('a')], NOW);
    expect(news.heard([event('a')], NOW + 50)).toBe(1);
  });
});

describe('an alert that nobody took in time', () => {
  const late = triage({ escalated: true, updated_ms: NOW + 2 * MINUTE });

  test('is told and heard in another tune, once, in the place of what stood there', () => {
    news.heard([event('a')], NOW);
    expect(news.triaged('n', 'a', late)).toBe(true);
    expect([stands(), played]).toEqual([['overdue a'], ['alert', 'overdue']]);
    // A note on it is a change of its triage as well.
    news.triaged('n', 'a', { ...late, updated_ms: NOW + 3 * MINUTE });
    expect(played.length).toBe(2);
  });

  test('is told again when it was given back and waits anew', () => {
    news.heard([event('a')], NOW);
    news.triaged('n', 'a', late);
    news.triaged('n', 'a', triage({ state: 'owned', version: 1 }));
    news.triaged('n', 'a', triage({ version: 2 }));
    news.heard([event('a', {}, { version: 2 })], NOW + 5 * MINUTE);
    news.triaged('n', 'a', triage({ version: 2, escalated: true }));
    expect(played).toEqual(['alert', 'overdue', 'overdue']);
  });

  test('of which nothing is known has to be asked for', () => {
    expect(news.triaged('n', 'a', late)).toBe(false);
    expect(played).toEqual([]);
    news.found([event('a', {}, late), event('b', {}, late)], new Set(['n/a']));
    expect([stands(), played]).toEqual([['overdue a'], ['overdue']]);
    expect(news.triaged('n', 'a', late)).toBe(true);
    expect(played.length).toBe(1);
  });

  test('is told though a new revision says so first, and not when the list had it so for long', () => {
    news.heard([event('a')], NOW);
    news.heard([event('a', { revision: 2 }, late)], NOW + 2 * MINUTE);
    news.triaged('n', 'a', late);
    expect(played).toEqual(['alert', 'overdue']);
    news.seen([event('b', {}, late)], NOW + 9 * MINUTE);
    expect(news.triaged('n', 'b', { ...late, updated_ms: NOW + 9 * MINUTE })).toBe(true);
    expect(played.length).toBe(2);
  });
});

describe('after a lost line', () => {
  const since = NOW - 10 * MINUTE;
  const meanwhile = (id: string, change: Partial<Triage> = {}) => event(id, { first_committed_ms: NOW - 5 * MINUTE }, change);

  test('that goes on where it broke off, what came meanwhile is told together, what is fresh by itself', () => {
    news.lost(since);
    expect(news.heard([meanwhile('a'), meanwhile('b'), meanwhile('mine', { state: 'owned' }), event('now')], NOW)).toBe(3);
    expect([stands(), played]).toEqual([['alert now', 'missed 2'], ['alert']]);
  });

  test('that begins anew, it is found among those that nobody has', () => {
    news.heard([event('known', { first_committed_ms: NOW - 9.9 * MINUTE })], NOW - 9.9 * MINUTE);
    news.lost(since);
    // The list comes first, and takes nothing away.
    news.seen([meanwhile('a')], NOW);
    const long = event('long ago', { first_committed_ms: NOW - 60 * MINUTE });
    news.found([event('known', { first_committed_ms: NOW - 9.9 * MINUTE }), meanwhile('a'), meanwhile('b'), long], new Set());
    news.caughtUp();
    expect([stands(), played]).toEqual([['missed 2', 'alert known'], ['alert', 'alert']]);
    expect(news.behind).toBe(false);
  });

  test('what became overdue meanwhile is told, too', () => {
    news.heard([event('a', { first_committed_ms: NOW - 11 * MINUTE })], NOW - 11 * MINUTE);
    news.lost(since);
    news.found([event('a', {}, { escalated: true, updated_ms: NOW - 8 * MINUTE })], new Set());
    expect([stands(), played]).toEqual([['overdue a'], ['alert', 'overdue']]);
  });

  test('of another session nothing is left', () => {
    news.heard([event('a')], NOW);
    news.lost(since);
    news.clear();
    expect([stands(), news.behind]).toEqual([[], false]);
    expect(news.heard([event('b', { first_committed_ms: NOW - 5 * MINUTE })], NOW)).toBe(0);
  });
});
