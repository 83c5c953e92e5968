import { describe, expect, test } from 'vitest';
import { advance, place, reel, settled, tune, whole } from '../../src/lib/sync';

const clip = { from_ms: 10_000, to_ms: 40_000 };

describe('a clip and its moments', () => {
  test('begins where its first picture was taken, not where it was asked from', () => {
    const r = reel(clip, null);
    expect(place(r, 10_000)).toBe(0);
    expect(place(r, 25_500)).toBe(15.5);
    expect(place(r, 40_000)).toBe(30);
    expect(place(r, 9_999)).toBeNull();
    expect(place(r, 40_001)).toBeNull();
  });

  test('goes on without a pause over what was not recorded, and has no picture of it', () => {
    const r = reel(clip, [{ from_ms: 0, to_ms: 15_000 }, { from_ms: 30_000, to_ms: 60_000 }]);
    expect(r.parts).toEqual([{ from_ms: 10_000, to_ms: 15_000 }, { from_ms: 30_000, to_ms: 40_000 }]);
    expect(place(r, 14_000)).toBe(4);
    expect(place(r, 20_000)).toBeNull();
    expect(place(r, 30_000)).toBe(5);
    expect(place(r, 36_000)).toBe(11);
  });

  test('files that follow each other are one, and jitter between them is no hole', () => {
    const r = reel(clip, [{ from_ms: 20_300, to_ms: 60_000 }, { from_ms: 0, to_ms: 20_000 }]);
    expect(place(r, 20_100)).toBe(10);
    expect(place(r, 20_300)).toBe(10);
    expect(place(r, 21_300)).toBe(11);
    expect(reel(clip, [{ from_ms: 0, to_ms: 22_000 }, { from_ms: 20_000, to_ms: 60_000 }]).parts).toEqual([clip]);
  });

  test('an index that does not explain how long the file plays is not believed', () => {
    const r = reel(clip, [{ from_ms: 10_000, to_ms: 15_000 }, { from_ms: 30_000, to_ms: 40_000 }]);
    expect(settled(r, 15.2)).toBe(r);
    expect(settled(r, NaN)).toBe(r);
    expect(settled(r, 29.5).parts).toEqual([{ from_ms: 10_000, to_ms: 39_500 }]);
    expect(reel(clip, []).parts).toEqual([clip]);
  });

  test('together they last from the first picture of any to the last', () => {
    expect(whole([clip, { from_ms: 8_000, to_ms: 30_000 }])).toEqual({ from_ms: 8_000, to_ms: 40_000 });
  });
});

describe('the clock', () => {
  test('goes at the chosen speed, ends at the end, and jumps over nothing', () => {
    expect(advance(1_000, 16, 2, 9_000)).toBe(1_032);
    expect(advance(8_990, 16, 1, 9_000)).toBe(9_000);
    expect(advance(1_000, 60_000, 1, 9_000)).toBe(1_250);
    expect(advance(1_000, -5, 1, 9_000)).toBe(1_000);
  });

  test('what is a little off is brought back by its pace, what is far off by a jump', () => {
    expect(tune(0.02, 1)).toBe(1);
    expect(tune(0.2, 1)).toBeCloseTo(0.9);
    expect(tune(-0.2, 2)).toBeCloseTo(2.2);
    expect(tune(-0.8, 1)).toBe('seek');
    expect(tune(0.8, 4)).toBeCloseTo(3.6);
    expect(tune(0.1, 0.25)).toBeCloseTo(0.225);
  });
});
