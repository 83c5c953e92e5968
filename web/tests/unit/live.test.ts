import { describe, expect, test } from 'vitest';
import { gridStep, health, metres } from '../../src/lib/camera';
import { catchUp, isStale, next, pace, parseFrame, parseText, pause } from '../../src/lib/live';
import { bar, joined, momentAt, selection } from '../../src/lib/timeline';
import type { Camera } from '../../src/lib/types';

function frame(header: string, jpeg: number[], length = new TextEncoder().encode(header).length): ArrayBuffer {
  const head = new TextEncoder().encode(header);
  const out = new Uint8Array(4 + head.length + jpeg.length);
  new DataView(out.buffer).setUint32(0, length);
  out.set(head, 4);
  out.set(jpeg, 4 + head.length);
  return out.buffer;
}

describe('the wall', () => {
  test('takes a frame apart', () => {
    const got = parseFrame(frame('{"node":"n","camera":"ngõ","at_ms":5,"fps":1.5,"width":640,"height":360}', [0xff, 0xd8, 1]))!;
    expect(got.header).toMatchObject({ node: 'n', camera: 'ngõ', fps: 1.5 });
    expect([...got.jpeg]).toEqual([0xff, 0xd8, 1]);
  });

  test('leaves aside what is no frame', () => {
    expect(parseFrame(new ArrayBuffer(3))).toBeNull();
    expect(parseFrame(frame('{}', [], 99))).toBeNull();
    expect(parseFrame(frame('no json', [1]))).toBeNull();
    expect(parseText('[1')).toBeNull();
    expect(parseText('7')).toBeNull();
  });
});

test('live video is brought back to two seconds from now, and left alone before', () => {
  expect(catchUp(10, 8.5)).toBeNull();
  expect(catchUp(10, 7.9)).toBeCloseTo(9.7);
});

test('what cannot be shown as it is comes as the sub-stream, then as pictures, and a refusal stays one', () => {
  expect(next('unsupported', null, false)).toBe('sub-stream');
  expect(next('away', 'codec', false)).toBe('sub-stream');
  expect(next('unsupported', null, true)).toBe('pictures');
  expect(next('masked', null, false)).toBe('pictures');
  expect(next('refused', 'sharing', false)).toBe('nothing');
});

test('what is only away is tried again, for ever, and at least every ten seconds', () => {
  for (const why of ['away', 'closed'] as const) for (const sub of [false, true]) expect(next(why, null, sub)).toBe('again');
  expect([0, 1, 2, 3, 4, 100].map(pause)).toEqual([1_000, 2_000, 5_000, 10_000, 10_000, 10_000]);
});

test('a picture is of now for as long as others should have come', () => {
  expect(isStale(null, 1, 99_000)).toBe(false);
  expect(isStale(10_000, 1, 24_000)).toBe(false);
  expect(isStale(10_000, 1, 26_000)).toBe(true);
  expect(isStale(10_000, 0.1, 26_000)).toBe(false);
  expect(isStale(10_000, null, 26_000)).toBe(true);
});

test('a camera whose node is away is not well, whatever it said last', () => {
  const camera = (change: Partial<Camera>) => ({ state: 'online', fault: null, current: true, ...change }) as Camera;
  expect(health(camera({}))).toBe('ok');
  expect(health(camera({ current: false }))).toBe('away');
  expect(health(camera({ state: 'connecting' }))).toBe('wait');
  for (const state of ['offline', 'auth_failed', 'faulty', 'quarantined', 'something-new']) expect(health(camera({ state })), state).toBe('bad');
});

test('distances and grids are in round metres', () => {
  expect(metres([21.03, 105.83], [21.03, 105.84])).toBeCloseTo(1038, -1);
  expect([3, 10, 11, 49, 51, 900].map(gridStep)).toEqual([5, 10, 20, 50, 100, 1000]);
});

describe('the timeline', () => {
  test('files that follow each other are one bar, and a gap that can be seen stays', () => {
    const files = Array.from({ length: 8_640 }, (_, i) => ({ from_ms: i * 10_000, to_ms: i * 10_000 + 9_990 }));
    expect(joined(files, 28_800)).toEqual([{ from_ms: 0, to_ms: 86_399_990 }]);
    expect(joined([{ from_ms: 0, to_ms: 10 }, { from_ms: 60, to_ms: 90 }, { from_ms: 85, to_ms: 88 }], 49)).toEqual([{ from_ms: 0, to_ms: 10 }, { from_ms: 60, to_ms: 90 }]);
    expect(files[0]).toEqual({ from_ms: 0, to_ms: 9_990 });
  });

  const window = { from_ms: 0, to_ms: 100_000 };
  test('cuts what reaches over its ends', () => {
    expect(bar({ from_ms: -5_000, to_ms: 50_000 }, window)).toEqual({ left: 0, width: 50 });
    expect(bar({ from_ms: 100_000, to_ms: 110_000 }, window)).toBeNull();
    expect(bar({ from_ms: 10_000, to_ms: 10_001 }, window)!.width).toBeGreaterThan(0);
  });
  test('a drag in either direction is a range, and no longer than a clip may be', () => {
    expect(momentAt(250, 500, window)).toBe(50_000);
    expect(momentAt(-9, 500, window)).toBe(0);
    expect(selection(50_000, 20_000, 60_000)).toEqual({ from_ms: 20_000, to_ms: 50_000 });
    expect(selection(10_000, 90_000, 60_000)).toEqual({ from_ms: 10_000, to_ms: 70_000 });
    expect(selection(90_000, 10_000, 60_000)).toEqual({ from_ms: 30_000, to_ms: 90_000 });
  });
});

test('what lags plays a little faster until it is close to now, and no further', () => {
  expect(pace(1.8, 0.5, 1)).toBe(1.1);
  expect(pace(0.9, 0.5, 1.1)).toBe(1.1);
  expect(pace(0.4, 0.5, 1.1)).toBe(1);
  expect(pace(0.9, 0.5, 1)).toBe(1);
  expect(pace(1.5, 1.1, 1)).toBe(1);
});
