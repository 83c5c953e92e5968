// Times as they are written here: dd/MM/yyyy, 24 hours, in the site's zone whatever the browser's.

import type { UtcOffset } from './types';

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    const options: Intl.DateTimeFormatOptions = {
      timeZone: zone, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit',
      hour: '2-digit', minute: '2-digit', second: '2-digit',
    };
    format = new Intl.DateTimeFormat('en-GB', options);
    formats.set(zone, format);
  }
  return format;
}

export interface WallTime {
  year: number; month: number; day: number; hour: number; minute: number; second: number;
  /** 0 is Sunday. */
  weekday: number;
}

const DAY_MS = 86_400_000;
/** How far clocks are ahead of UTC, by zone and day of UTC: a list has hundreds of times, and the browser takes long for each.
 *  NaN: a day on which they are changed. */
const offsets = new Map<string, number>();

/** What the centre says of its own zone: with it nobody waits for the browser to read its time zones. */
let told: { zone: string; offset: UtcOffset } | null = null;

export function tellOffset(zone: string, offset: UtcOffset): void {
  told = { zone, offset };
}

function toldOffset(ms: number, zone: string): number | null {
  if (told?.zone !== zone) return null;
  const { seconds, from_ms, to_ms } = told.offset;
  return (from_ms === null || ms >= from_ms) && (to_ms === null || ms < to_ms) ? seconds * 1_000 : null;
}

function askedOffset(ms: number, zone: string): number {
  const parts: Record<string, number> = {};
  for (const p of formatOf(zone).formatToParts(ms)) parts[p.type] = Number(p.value);
  const { year, month, day, hour, minute, second } = parts as unknown as WallTime;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(ms / 1_000) * 1_000;
}

function offset(ms: number, zone: string): number {
  const said = toldOffset(ms, zone);
  if (said !== null) return said;
  const day = Math.floor(ms / DAY_MS);
  const key = `${zone} ${day}`;
  let known = offsets.get(key);
  if (known === undefined) {
    const [begin, end] = [askedOffset(day * DAY_MS, zone), askedOffset((day + 1) * DAY_MS, zone)];
    known = begin === end ? begin : NaN;
    if (offsets.size >= 1_000) offsets.clear();
    offsets.set(key, known);
  }
  return Number.isNaN(known) ? askedOffset(ms, zone) : known;
}

export function wallTime(ms: number, zone: string): WallTime {
  const shown = new Date(ms + offset(ms, zone));
  return {
    year: shown.getUTCFullYear(), month: shown.getUTCMonth() + 1, day: shown.getUTCDate(),
    hour: shown.getUTCHours(), minute: shown.getUTCMinutes(), second: shown.getUTCSeconds(),
    weekday: shown.getUTCDay(),
  };
}

const two = (n: number) => String(n).padStart(2, '0');

export function date(ms: number, zone: string): string {
  const w = wallTime(ms, zone);
  return `${two(w.day)}/${two(w.month)}/${w.year}`;
}

export function time(ms: number, zone: string): string {
  const w = wallTime(ms, zone);
  return `${two(w.hour)}:${two(w.minute)}`;
}

export function timeSeconds(ms: number, zone: string): string {
  return `${time(ms, zone)}:${two(wallTime(ms, zone).second)}`;
}

export function dateTime(ms: number, zone: string): string {
  return `${date(ms, zone)} ${time(ms, zone)}`;
}

export function dateTimeSeconds(ms: number, zone: string): string {
  return `${date(ms, zone)} ${timeSeconds(ms, zone)}`;
}

/** For file names: 20261124-181354. */
export function stamp(ms: number, zone: string): string {
  const w = wallTime(ms, zone);
  return `${w.year}${two(w.month)}${two(w.day)}-${two(w.hour)}${two(w.minute)}${two(w.second)}`;
}

/** The moment at which the site's clocks show this. */
export function fromWall(
  w: { year: number; month: number; day: number; hour?: number; minute?: number },
  zone: string,
): number {
  const asUtc = Date.UTC(w.year, w.month - 1, w.day, w.hour ?? 0, w.minute ?? 0);
  // Twice, because the offset may differ between the guess and the moment itself.
  let ms = asUtc;
  for (let i = 0; i < 2; i += 1) {
    const seen = wallTime(ms, zone);
    ms += asUtc - Date.UTC(seen.year, seen.month - 1, seen.day, seen.hour, seen.minute);
  }
  return ms;
}

export function startOfDay(ms: number, zone: string): number {
  return fromWall(wallTimeDay(ms, zone), zone);
}

/** Midnight so many days from the day of `ms`. */
export function addDays(ms: number, days: number, zone: string): number {
  const w = wallTime(ms, zone);
  const noon = new Date(Date.UTC(w.year, w.month - 1, w.day + days));
  return fromWall({ year: noon.getUTCFullYear(), month: noon.getUTCMonth() + 1, day: noon.getUTCDate() }, zone);
}

/** A night is 18:00 to 06:00 of the site's clocks; before noon, tonight is the one that is ending. */
export function night(now_ms: number, back: number, zone: string): { from_ms: number; to_ms: number } {
  const early = wallTime(now_ms, zone).hour < 12 ? 1 : 0;
  const evening = wallTimeDay(addDays(startOfDay(now_ms, zone), -early - back, zone), zone);
  const morning = wallTimeDay(addDays(startOfDay(now_ms, zone), 1 - early - back, zone), zone);
  return { from_ms: fromWall({ ...evening, hour: 18 }, zone), to_ms: fromWall({ ...morning, hour: 6 }, zone) };
}

function wallTimeDay(ms: number, zone: string) {
  const { year, month, day } = wallTime(ms, zone);
  return { year, month, day };
}

/** Reads "24/11/2026 18:05" or "24/11/2026"; null when it is neither. */
export function parseDateTime(text: string, zone: string): number | null {
  const m = /^\s*(\d{1,2})\/(\d{1,2})\/(\d{4})(?:[ ,T]+(\d{1,2})[:h](\d{2}))?\s*$/.exec(text);
  if (!m) return null;
  const [day, month, year, hour, minute] = [m[1], m[2], m[3], m[4] ?? '0', m[5] ?? '0'].map(Number) as
    [number, number, number, number, number];
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || day < 1) return null;
  if (day > new Date(Date.UTC(year, month, 0)).getUTCDate()) return null;
  return fromWall({ year, month, day, hour, minute }, zone);
}

export interface Units { second: string; minute: string; hour: string; day: string }

/** "45 s", "12 phút", "3 giờ 20 phút", "2 ngày". */
export function duration(ms: number, units: Units): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} ${units.second}`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} ${units.minute}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) {
    const rest = minutes % 60;
    return rest && hours < 10 ? `${hours} ${units.hour} ${rest} ${units.minute}` : `${hours} ${units.hour}`;
  }
  return `${Math.floor(hours / 24)} ${units.day}`;
}

/** How a language writes a number with so many decimals. */
export type Write = (n: number, decimals: number) => string;

/** 1_234_567 → "1,2 MB". */
export function bytes(n: number, write: Write): string {
  return n < 1_000_000 ? `${Math.max(1, Math.round(n / 1000))} kB` : `${write(n / 1_000_000, 1)} MB`;
}

/** 72.46 → "1:12,4"; for a clip's clock. */
export function clock(seconds: number, write: Write): string {
  const tenths = Math.floor(Math.max(0, seconds) * 10);
  const rest = tenths % 600;
  return `${Math.floor(tenths / 600)}:${rest < 100 ? '0' : ''}${write(rest / 10, 1)}`;
}

/** Text as people search it: without tone marks and case, đ as d. */
export function fold(text: string): string {
  return text.normalize('NFD').replace(/[\u0300-\u036f]/g, '').replace(/[đĐ]/g, 'd').toLowerCase();
}
