// Shapes on a picture: points are fractions of it from its top left corner, as the cameras document writes them.

import type { Point } from './types';

export const MOST_CORNERS = 64;
export const FEWEST_CORNERS = 3;

/** Within the picture, and no finer than a fifth of a pixel of a 4K one. */
export function inside(p: readonly [number, number]): Point {
  return [round(Math.min(1, Math.max(0, p[0]))), round(Math.min(1, Math.max(0, p[1])))];
}

const round = (n: number) => Math.round(n * 10_000) / 10_000;

export function moveCorner(points: readonly Point[], at: number, to: readonly [number, number]): Point[] {
  return points.map((p, i) => (i === at ? inside(to) : p));
}

/** The whole shape, as far as its outermost corners allow: its form never changes. */
export function moveAll(points: readonly Point[], dx: number, dy: number): Point[] {
  const free = (axis: 0 | 1, by: number) => {
    const all = points.map((p) => p[axis]);
    return Math.min(1 - Math.max(...all), Math.max(-Math.min(...all), by));
  };
  const x = free(0, dx);
  const y = free(1, dy);
  return points.map((p) => inside([p[0] + x, p[1] + y]));
}

/** A corner between `edge` and the one after it. */
export function insertCorner(points: readonly Point[], edge: number, p: readonly [number, number]): Point[] {
  return points.length >= MOST_CORNERS ? [...points] : [...points.slice(0, edge + 1), inside(p), ...points.slice(edge + 1)];
}

export function removeCorner(points: readonly Point[], at: number, fewest = FEWEST_CORNERS): Point[] {
  return points.length <= fewest ? [...points] : points.filter((_, i) => i !== at);
}

export function middle(a: Point, b: Point): Point {
  return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
}

export function centre(points: readonly Point[]): Point {
  const n = Math.max(1, points.length);
  return [points.reduce((s, p) => s + p[0], 0) / n, points.reduce((s, p) => s + p[1], 0) / n];
}

const turn = (a: Point, b: Point, c: Point) => Math.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]));

function on(a: Point, b: Point, p: Point): boolean {
  return turn(a, b, p) === 0
    && p[0] >= Math.min(a[0], b[0]) && p[0] <= Math.max(a[0], b[0]) && p[1] >= Math.min(a[1], b[1]) && p[1] <= Math.max(a[1], b[1]);
}

function meet(a: Point, b: Point, c: Point, d: Point): boolean {
  if (turn(a, b, c) * turn(a, b, d) < 0 && turn(c, d, a) * turn(c, d, b) < 0) return true;
  return on(a, b, c) || on(a, b, d) || on(c, d, a) || on(c, d, b);
}

/** Two edges that are no neighbours meet: what is inside such a polygon is not what was meant. */
export function crossesItself(polygon: readonly Point[]): boolean {
  const n = polygon.length;
  for (let i = 0; i < n; i += 1) {
    for (let k = i + 2; k < n; k += 1) {
      if (i === 0 && k === n - 1) continue;
      if (meet(polygon[i]!, polygon[(i + 1) % n]!, polygon[k]!, polygon[(k + 1) % n]!)) return true;
    }
  }
  return false;
}

/** Where an arrow across a line begins and ends, on a field `width` by `height`: from its left to its right, as someone
 *  sees it who walks from its first point to its second. */
export function arrow(line: readonly Point[], width: number, height: number, length: number): [Point, Point] | null {
  const [a, b] = line;
  if (!a || !b) return null;
  const dx = (b[0] - a[0]) * width;
  const dy = (b[1] - a[1]) * height;
  const far = Math.hypot(dx, dy);
  if (far === 0) return null;
  const m: Point = [((a[0] + b[0]) / 2) * width, ((a[1] + b[1]) / 2) * height];
  const right: Point = [(-dy / far) * length, (dx / far) * length];
  return [[m[0] - right[0], m[1] - right[1]], [m[0] + right[0], m[1] + right[1]]];
}
