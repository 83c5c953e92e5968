// Where something was at a moment, of the few points that an event keeps of its way.

import type { Point } from './types';

/** The way: seconds from the event's start, x, y as fractions of the picture. */
export type Way = readonly (readonly [seconds: number, x: number, y: number])[];

/** Between two points it went straight; before the first and after the last nobody knows. */
export function positionAt(way: Way, seconds: number): Point | null {
  const next = way.findIndex(([at]) => at >= seconds);
  if (next < 0) return null;
  const [to, x, y] = way[next]!;
  if (to === seconds) return [x, y];
  if (next === 0) return null;
  const [from, fx, fy] = way[next - 1]!;
  const part = (seconds - from) / (to - from);
  return [fx + (x - fx) * part, fy + (y - fy) * part];
}
