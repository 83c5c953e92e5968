import { describe, expect, test } from 'vitest';
import { sinceOf } from '../../src/lib/camera';
import { outOfOrder, unfinished } from '../../src/lib/handover';
import { reachable } from '../../src/lib/reach';
import { handedOver, shiftRange } from '../../src/lib/shift';
import type { Camera, EventSummary, NodeState } from '../../src/lib/types';

const zone = 'Asia/Ho_Chi_Minh';
const at = (text: string) => Date.parse(`${text}+07:00`);
const span = (range: [number, number]) => range.map((ms) => new Date(ms + 7 * 3_600_000).toISOString().slice(5, 16).replace('T', ' '));

describe('shifts', () => {
  test('change at six and at eighteen', () => {
    expect(span(shiftRange('current', at('2026-11-24T05:59'), zone))).toEqual(['11-23 18:00', '11-24 06:00']);
    expect(span(shiftRange('current', at('2026-11-24T06:00'), zone))).toEqual(['11-24 06:00', '11-24 18:00']);
    expect(span(shiftRange('current', at('2026-11-24T23:00'), zone))).toEqual(['11-24 18:00', '11-25 06:00']);
    expect(span(shiftRange('previous', at('2026-11-24T23:00'), zone))).toEqual(['11-24 06:00', '11-24 18:00']);
    expect(span(shiftRange('previous', at('2026-11-24T03:00'), zone))).toEqual(['11-23 06:00', '11-23 18:00']);
    expect(span(shiftRange('today', at('2026-11-24T03:00'), zone))).toEqual(['11-24 00:00', '11-25 00:00']);
    expect(span(shiftRange('yesterday', at('2026-11-24T03:00'), zone))).toEqual(['11-23 00:00', '11-24 00:00']);
  });
  test('who is late still hands over the one that is over', () => {
    expect(span(handedOver(at('2026-11-24T17:50'), zone))).toEqual(['11-24 06:00', '11-24 17:50']);
    expect(span(handedOver(at('2026-11-24T18:20'), zone))).toEqual(['11-24 06:00', '11-24 18:20']);
    expect(span(handedOver(at('2026-11-24T19:10'), zone))).toEqual(['11-24 18:00', '11-24 19:10']);
  });
});

const camera = (id: string, change: Partial<Camera> = {}) =>
  ({ node: 'n1', camera: id, name: id, state: 'online', fault: null, current: true, since_ms: 10, ...change }) as Camera;
const node = (id: string, state: NodeState['state'], since_ms: number | null = 50): NodeState => ({ node: id, state, since_ms });

test('a camera stands so since it says so, or since its node is away, or nobody knows', () => {
  expect(sinceOf(camera('a'), [])).toEqual({ of: 'camera', ms: 10 });
  expect(sinceOf(camera('a', { current: false }), [node('n1', 'offline')])).toEqual({ of: 'node', ms: 50 });
  expect(sinceOf(camera('a', { current: false }), [node('n1', 'online')])).toBeNull();
  expect(sinceOf(camera('a', { current: false }), [])).toBeNull();
  expect(sinceOf(camera('a', { since_ms: null }), [])).toBeNull();
});

test('out of order is a node with its cameras, and each camera for itself', () => {
  const cameras = [
    camera('a'), camera('b', { state: 'offline', fault: 'unreachable' }), camera('c', { node: 'n2', current: false }), camera('d', { node: 'n2', current: false, state: 'offline' }),
  ];
  const rows = outOfOrder(cameras, [node('n1', 'online'), node('n2', 'offline')]);
  expect(rows.map((r) => [r.node, r.camera?.camera ?? null, r.state, r.since_ms, r.cameras])).toEqual([['n2', null, 'offline', 50, 2], ['n1', 'b', 'offline', 10, 1]]);
});

test('unfinished is what waits, longest first, and what somebody has; once each', () => {
  const event = (id: string, state: string, severity = 'alert', started_ms = Number(id)) => ({ node: 'n', id, severity, started_ms, triage: { state } }) as EventSummary;
  const all = [event('5', 'dispatched'), event('4', 'owned', 'notice'), event('3', 'new'), event('2', 'new'), event('1', 'new', 'notice'), event('0', 'resolved'), event('3', 'new')];
  expect(unfinished(all).map((e) => e.id)).toEqual(['2', '3', '4', '5']);
});

test('a camera that somebody has and nobody knows any more is not taken from him unseen', () => {
  expect(reachable([camera('a', { area: 'Tổ 5' })], [['n1', 'a'], ['n9', 'x']])).toEqual([
    { key: ['n1', 'a'], name: 'a', area: 'Tổ 5' }, { key: ['n9', 'x'], name: 'n9/x', area: '' },
  ]);
});
