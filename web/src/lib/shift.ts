// Shifts of twelve hours, changed at 06:00 and 18:00 of the site's clocks.

import { addDays, fromWall, startOfDay, wallTime } from './format';

export type Shift = 'current' | 'previous' | 'today' | 'yesterday';
export const SHIFTS: readonly Shift[] = ['current', 'previous', 'today', 'yesterday'];

const HOUR = 3_600_000;

function hourOf(day_ms: number, hour: number, zone: string): number {
  const { year, month, day } = wallTime(day_ms, zone);
  return fromWall({ year, month, day, hour }, zone);
}

function shiftAt(ms: number, zone: string): [from: number, to: number] {
  const { hour } = wallTime(ms, zone);
  if (hour < 6) return [hourOf(addDays(ms, -1, zone), 18, zone), hourOf(ms, 6, zone)];
  if (hour < 18) return [hourOf(ms, 6, zone), hourOf(ms, 18, zone)];
  return [hourOf(ms, 18, zone), hourOf(addDays(ms, 1, zone), 6, zone)];
}

export function shiftRange(shift: Shift, now_ms: number, zone: string): [from: number, to: number] {
  switch (shift) {
    case 'today': return [startOfDay(now_ms, zone), addDays(now_ms, 1, zone)];
    case 'yesterday': return [addDays(now_ms, -1, zone), startOfDay(now_ms, zone)];
    case 'current': return shiftAt(now_ms, zone);
    case 'previous': return shiftAt(shiftAt(now_ms, zone)[0] - 1, zone);
  }
}

/** The shift that is being handed over: who is late hands over the one that is over, until now. */
export const handedOver = (now_ms: number, zone: string): [from: number, to: number] => [shiftAt(now_ms - HOUR, zone)[0], now_ms];
