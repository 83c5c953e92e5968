import { describe, expect, test } from 'vitest';
import * as feed from '../../src/lib/feed';
import { filterOf } from '../../src/lib/place';
import type { EventSummary, Triage } from '../../src/lib/types';

const NOW = 1_800_000_000_000;

function event(id: string, change: Partial<EventSummary> = {}, triage: Partial<Triage> = {}): EventSummary {
  return {
    node: 'node-1', id, camera: 'cam-1', camera_name: 'Đầu ngõ 12', area: 'Tổ 5', revision: 1, phase: 'started', severity: 'alert',
    kind: 'intrusion', rule: 'vao-san', label: 'person', started_ms: NOW, updated_ms: NOW, ended_ms: null, snapshot: null,
    has_snapshot: false, has_clip: false, committed_ms: NOW, first_committed_ms: NOW,
    ...change,
    triage: { state: 'new', verdict: null, owner: null, version: 0, updated_ms: null, escalated: false, snoozed: false, incident: null, ...triage },
  };
}

const ids = (list: EventSummary[]) => list.map((e) => e.id);
const items = (...list: EventSummary[]) => feed.upsert(new Map(), list);

describe('what comes by the line', () => {
  test('an older revision never takes the place of a newer one', () => {
    const have = items(event('a', { revision: 3, phase: 'ended' }));
    expect(feed.upsert(have, [event('a', { revision: 2, phase: 'updated' })]).get('node-1/a')!.phase).toBe('ended');
    expect(feed.upsert(have, [event('a', { revision: 4, has_clip: true })]).get('node-1/a')!.has_clip).toBe(true);
  });

  test('a new revision with an old triage keeps what an officer did', () => {
    const have = items(event('a', { revision: 1 }, { state: 'owned', version: 2 }));
    const merged = feed.upsert(have, [event('a', { revision: 2 }, { state: 'new', version: 0 })]).get('node-1/a')!;
    expect([merged.revision, merged.triage.state]).toEqual([2, 'owned']);
  });

  test('a triage of before is left aside, one of an unknown event as well', () => {
    const have = items(event('a', {}, { state: 'resolved', version: 5 }));
    expect(feed.withTriage(have, 'node-1', 'a', event('a', {}, { version: 4 }).triage)).toBe(have);
    expect(feed.withTriage(have, 'node-1', 'b', event('b', {}, { version: 9 }).triage)).toBe(have);
  });

  test('two nodes may have events of one id', () => {
    expect(items(event('a'), event('a', { node: 'node-2' })).size).toBe(2);
  });
});

describe('the order', () => {
  test('alerts that wait stand on top, unowned first, the longest waiting first', () => {
    const { pinned, rest } = feed.ordered(items(
      event('new-late', { started_ms: NOW - 1 }), event('owned', { started_ms: NOW - 90 }, { state: 'owned' }),
      event('new-early', { started_ms: NOW - 50 }), event('done', { started_ms: NOW - 10 }, { state: 'resolved' }),
      event('notice', { started_ms: NOW - 5, severity: 'notice' }), event('snoozed', { started_ms: NOW - 7 }, { snoozed: true }),
    ), feed.NO_FILTER);
    expect(ids(pinned)).toEqual(['new-early', 'new-late', 'owned']);
    expect(ids(rest)).toEqual(['notice', 'snoozed', 'done']);
  });

  test('a list cut short keeps what waits, however old', () => {
    const many = Array.from({ length: 30 }, (_, i) => event(`n${i}`, { severity: 'notice', started_ms: NOW - i }));
    const cut = feed.trimmed(items(event('old', { started_ms: NOW - 9_999 }), ...many), 10);
    expect(cut.size).toBe(11);
    expect(cut.has('node-1/old')).toBe(true);
    expect(cut.has('node-1/n9')).toBe(true);
    expect(cut.has('node-1/n10')).toBe(false);
  });

  test('alerts that wait are no reason to cut, however many', () => {
    const waiting = Array.from({ length: 50 }, (_, i) => event(`w${i}`));
    const list = items(...waiting, ...Array.from({ length: 20 }, (_, i) => event(`n${i}`, { severity: 'notice' })));
    expect(feed.trimmed(list, 10)).toBe(list);
  });

  test('an event below the loaded part waits for its page, an alert that waits does not', () => {
    const old = { started_ms: NOW - 1_000 };
    expect(feed.admissible(event('a', { ...old, severity: 'notice' }), NOW)).toBe(false);
    expect(feed.admissible(event('a', old), NOW)).toBe(true);
    expect(feed.admissible(event('a', { ...old, severity: 'notice' }), null)).toBe(true);
  });
});

describe('the filter', () => {
  const filter = (change: Partial<feed.Filter>) => ({ ...feed.NO_FILTER, ...change });

  test('lets through what it names', () => {
    const e = event('a');
    const yes: Partial<feed.Filter>[] = [{}, { severity: 'alert' }, { states: ['new'] }, { cameras: ['node-1/cam-1'] }, { areas: ['Tổ 5'] },
      { kinds: ['intrusion'] }, { text: 'dau ngo' }, { text: 'ĐẦU' }, { text: 'san to' }, { from_ms: NOW }, { to_ms: NOW + 1 }];
    const no: Partial<feed.Filter>[] = [{ severity: 'notice' }, { states: ['owned'] }, { cameras: ['node-2/cam-1'] }, { areas: ['Tổ 6'] },
      { kinds: ['loitering'] }, { text: 'cuoi ngo' }, { from_ms: NOW + 1 }, { to_ms: NOW }];
    for (const f of yes) expect(feed.matches(e, filter(f)), JSON.stringify(f)).toBe(true);
    for (const f of no) expect(feed.matches(e, filter(f)), JSON.stringify(f)).toBe(false);
  });

  test('survives the way through the address', () => {
    const f = filter({ severity: 'alert', states: ['new', 'owned'], cameras: ['n/c'], areas: ['Tổ 5'], kinds: ['loitering'], text: 'ngõ', from_ms: 5, to_ms: 9, within_ms: 3_600_000 });
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(feed.filterQuery(f))) for (const v of [value].flat()) params.append(name, String(v));
    expect(filterOf(params)).toEqual(f);
    expect(feed.sameFilter(f, filterOf(params))).toBe(true);
    expect(filterOf(new URLSearchParams('severity=all&from_ms=x'))).toEqual(feed.NO_FILTER);
  });

  test('of the last hour goes with the time', () => {
    const hour = filter({ within_ms: 3_600_000 });
    expect(feed.isFiltered(hour)).toBe(true);
    expect(feed.fixed(hour, NOW)).toEqual(filter({ from_ms: NOW - 3_600_000 }));
    expect(feed.matches(event('a'), feed.fixed(hour, NOW + 3_600_000))).toBe(true);
    expect(feed.matches(event('a'), feed.fixed(hour, NOW + 3_600_001))).toBe(false);
    const other = filter({ severity: 'alert' });
    expect(feed.fixed(other, NOW)).toBe(other);
  });

  test('is the same whatever stands around what is looked for', () => {
    expect(feed.sameFilter(filter({ text: 'ngõ ' }), filter({ text: 'ngõ' }))).toBe(true);
    expect(feed.sameFilter(filter({ text: 'ngõ' }), filter({ text: 'ngo' }))).toBe(false);
  });
});

describe('after a lost line', () => {
  // 400 events, one a second; pages of so many, the newest first.
  const all = Array.from({ length: 400 }, (_, i) => event(`e${i}`, { started_ms: NOW + i * 1_000 })).reverse();
  const from = (at: number, many: number) => ({ items: all.slice(at, at + many), next: at + many < all.length ? String(at + many) : null });
  let asked = 0;
  const after = async (cursor: string) => { asked += 1; return from(Number(cursor), 100); };

  test('the list is read again as far down as it was, so that nothing is missing within it', async () => {
    asked = 0;
    const { items: came, met, next } = await feed.downTo(from(0, 50), NOW + 180_000, 5, after);
    expect([came.length, met, next, asked]).toEqual([250, true, '250', 2]);
    expect(new Set(came.map((e) => e.id)).size).toBe(250);
  });

  test('a first list is one page, and a list too long to bridge says so', async () => {
    asked = 0;
    expect((await feed.downTo(from(0, 50), null, 5, after)).met).toBe(true);
    expect(asked).toBe(0);
    expect((await feed.downTo(from(0, 50), NOW, 2, after)).met).toBe(false);
    expect((await feed.downTo(from(0, 50), NOW - 1, 9, after))).toMatchObject({ met: true, next: null });
  });

  const pinsOf = (...waiting: EventSummary[]) => ({ items: waiting, next: null });

  test('an alert that was dealt with meanwhile waits no more, though the list does not reach down to it', () => {
    const old = event('old', { started_ms: NOW - 9_000 });
    const known = items(event('a'), old);
    const page = { items: [event('a'), event('b')], met: true };
    const after = feed.reread(known, known, page, pinsOf(event('a'), event('b')));
    expect([...after.keys()].sort()).toEqual(['node-1/a', 'node-1/b']);
    // Nobody asked for those that wait: nothing is known of them.
    expect(feed.reread(known, known, page, null).has('node-1/old')).toBe(true);
    // More wait than were read, and it is older than those: it may be one of them.
    expect(feed.reread(known, known, page, { items: [event('a')], next: 'c' }).has('node-1/old')).toBe(true);
  });

  test('what came by the line while the list was on its way stays', () => {
    const known = items(event('a'));
    const now = feed.upsert(known, [event('new', { started_ms: NOW + 1 })]);
    expect(feed.reread(now, known, { items: [event('a')], met: true }, pinsOf(event('a'))).has('node-1/new')).toBe(true);
    const reopened = feed.upsert(known, [event('a', {}, { state: 'owned', version: 9 })]);
    expect(feed.reread(reopened, known, { items: [], met: true }, pinsOf()).get('node-1/a')!.triage.state).toBe('owned');
  });

  test('a list that cannot be bridged begins anew, with what came by the line', () => {
    const known = items(event('a', { severity: 'notice' }));
    const now = feed.upsert(known, [event('new', { severity: 'notice' })]);
    expect([...feed.reread(now, known, { items: [event('b')], met: false }, pinsOf()).keys()]).toEqual(['node-1/new', 'node-1/b']);
  });
});
