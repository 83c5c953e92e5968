import { expect, test } from 'vitest';
import { against, limitOf } from '../../src/lib/range';
import type { Camera, EventSummary } from '../../src/lib/types';

const MINUTE = 60_000;
const camera = (sharing: Camera['sharing'], clip: boolean) => ({ sharing, may: { live: false, snapshot: true, clip } });
const event = (from: number, to: number | null, updated = to ?? from) =>
  ({ started_ms: from * MINUTE, ended_ms: to === null ? null : to * MINUTE, updated_ms: updated * MINUTE }) as EventSummary;
const range = (from: number, to: number) => ({ from_ms: from * MINUTE, to_ms: to * MINUTE });

test('a role or an owner binds to what is about events', () => {
  expect(limitOf(camera('scheduled_live', false))).toBe('role');
  expect(limitOf(camera('scheduled_live', true))).toBe('owner');
  expect(limitOf(camera('events_only', true))).toBe('owner');
  expect(limitOf(camera('on_request', true))).toBeNull();
  expect(limitOf(camera('events_only', true), 'hold')).toBeNull();
  expect(limitOf(camera('events_only', false), 'hold')).toBe('role');
  expect(limitOf(undefined)).toBeNull();
});

test('a duty officer asks about one event, from a minute before it to a minute after', () => {
  const officer = camera('events_only', false);
  const events = [event(100, 102), event(104, null, 105)];
  expect(against(officer, range(99, 103), events)).toBeNull();
  expect(against(officer, range(98.9, 103), events)).toBe('role');
  expect(against(officer, range(99, 103.1), events)).toBe('role');
  expect(against(officer, range(103, 106), events)).toBeNull();
  expect(against(officer, range(99, 106), events)).toBe('role');
  // One that began long ago is not found by the centre.
  expect(against(officer, range(300, 301), [event(100, 400)])).toBe('role');
});

test('an owner’s terms hold for everybody, and several events together cover a range', () => {
  const commander = camera('events_only', true);
  const events = [event(104, 105), event(100, 102)];
  expect(against(commander, range(99, 106), events)).toBeNull();
  expect(against(commander, range(98, 106), events)).toBe('owner');
  expect(against(commander, range(99, 106), [event(100, 102), event(105, 106)])).toBe('owner');
  expect(against(commander, range(1, 2), null)).toBeNull();
  expect(against(camera('on_request', true), range(1, 2), [])).toBeNull();
});
