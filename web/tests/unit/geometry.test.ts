import { describe, expect, test } from 'vitest';
import { arrow, crossesItself, insertCorner, inside, moveAll, moveCorner, removeCorner } from '../../src/lib/geometry';
import type { Point } from '../../src/lib/types';

const square: Point[] = [[0.2, 0.2], [0.6, 0.2], [0.6, 0.6], [0.2, 0.6]];

test('no corner leaves the picture', () => {
  expect(inside([-0.2, 1.7])).toEqual([0, 1]);
  expect(moveCorner(square, 1, [3, -3])).toEqual([[0.2, 0.2], [1, 0], [0.6, 0.6], [0.2, 0.6]]);
});

describe('a whole shape', () => {
  test('moves by what is asked', () => {
    expect(moveAll(square, 0.1, -0.1)).toEqual([[0.3, 0.1], [0.7, 0.1], [0.7, 0.5], [0.3, 0.5]]);
  });

  test('stops at the border with its form as it was', () => {
    const moved = moveAll(square, 0.9, -0.9);
    expect(moved).toEqual([[0.6, 0], [1, 0], [1, 0.4], [0.6, 0.4]]);
  });
});

describe('corners', () => {
  test('come between two others, also the last and the first', () => {
    expect(insertCorner(square, 0, [0.4, 0.1])[1]).toEqual([0.4, 0.1]);
    expect(insertCorner(square, 3, [0.1, 0.4]).at(-1)).toEqual([0.1, 0.4]);
  });

  test('are 64 at most and three at least', () => {
    const many = Array.from({ length: 64 }, (_, i): Point => [i / 64, 0.5]);
    expect(insertCorner(many, 3, [0.5, 0.1])).toHaveLength(64);
    expect(insertCorner(many.slice(1), 3, [0.5, 0.1])).toHaveLength(64);
    expect(removeCorner(square, 0)).toEqual(square.slice(1));
    expect(removeCorner(square.slice(1), 0)).toHaveLength(3);
  });
});

describe('a polygon that crosses itself', () => {
  test('is told from one that does not', () => {
    expect(crossesItself(square)).toBe(false);
    expect(crossesItself([[0.2, 0.2], [0.6, 0.6], [0.6, 0.2], [0.2, 0.6]])).toBe(true);
    // Not convex, and sound.
    expect(crossesItself([[0, 0], [1, 0], [1, 1], [0.5, 0.3], [0, 1]])).toBe(false);
  });

  test('also where a corner lies on an edge of others', () => {
    expect(crossesItself([[0, 0], [1, 0], [1, 1], [0.5, 0], [0, 1]])).toBe(true);
  });

  test('never by three corners', () => {
    expect(crossesItself([[0, 0], [1, 0], [0.5, 1]])).toBe(false);
  });
});

test('the right of a line is that of who walks along it, on the picture', () => {
  // Upwards: its right is the picture's right, whatever the picture's form.
  const [from, to] = arrow([[0.2, 0.9], [0.2, 0.4]], 1000, 560, 30)!;
  expect(from[0]).toBeCloseTo(170);
  expect(to[0]).toBeCloseTo(230);
  expect(from[1]).toBeCloseTo(to[1]);
  // To the picture's right: its right is below.
  expect(arrow([[0.2, 0.5], [0.8, 0.5]], 1000, 560, 30)![1][1]).toBeCloseTo(310);
  expect(arrow([[0.5, 0.5], [0.5, 0.5]], 1000, 560, 30)).toBeNull();
});
