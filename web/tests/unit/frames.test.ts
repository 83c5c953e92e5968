import { describe, expect, it } from 'vitest';
import { FrameTime } from '../../src/lib/frames';

function shown(times: number[], plays = true): FrameTime {
  const frames = new FrameTime();
  for (const at of times) frames.shown(at, plays);
  return frames;
}

describe('how long a picture stands', () => {
  it('is a tenth of a second until something was seen', () => {
    expect(shown([]).seconds).toBe(0.1);
    expect(shown([3]).seconds).toBe(0.1);
    expect(shown([0, 0.04, 0.08], false).seconds).toBe(0.1);
  });

  it('is the time between pictures, also of a camera that is not regular', () => {
    expect(shown([0, 0.04, 0.08, 0.12]).seconds).toBeCloseTo(0.04);
    expect(shown([0, 0.05, 0.08, 0.12]).seconds).toBeCloseTo(0.04);
  });

  it('is not longer in a browser that leaves pictures out', () => {
    expect(shown([0, 0.4, 0.5, 0.9, 1.3]).seconds).toBeCloseTo(0.1);
  });

  it('is not learnt from jumps', () => {
    expect(shown([0, 0.1, 7, 7.1, 2, 2.1, 2.1]).seconds).toBeCloseTo(0.1);
  });
});
