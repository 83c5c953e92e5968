// Clips of several cameras on one clock. A clip begins with its first picture, which seldom is the moment that was asked
// for; and where nothing was recorded its pictures follow one another without a pause, so that the index of its camera has
// to say which moment lies where in the file. Everything here is a plain function.

import { joined, type Span } from './timeline';

/** The moments of a file, in its order. */
export interface Reel extends Span { parts: readonly Span[] }

/** Less missing time is no hole, to whoever records and to whoever looks. */
const TOLERANCE_MS = 1_500;

/** A clip with what its camera recorded in that time; null: nobody could say. */
export function reel(clip: Span, recorded: readonly Span[] | null): Reel {
  const within = (recorded ?? [])
    .map((s) => ({ from_ms: Math.max(s.from_ms, clip.from_ms), to_ms: Math.min(s.to_ms, clip.to_ms) }))
    .filter((s) => s.to_ms > s.from_ms)
    .sort((a, b) => a.from_ms - b.from_ms);
  const parts = joined(within, 0);
  return { from_ms: clip.from_ms, to_ms: clip.to_ms, parts: parts.length > 0 ? parts : [{ from_ms: clip.from_ms, to_ms: clip.to_ms }] };
}

const seconds = (r: Reel) => r.parts.reduce((sum, p) => sum + p.to_ms - p.from_ms, 0) / 1_000;

/** As its file turns out to be: an index that does not explain how long it plays explains no hole in it either. */
export function settled(r: Reel, duration_s: number): Reel {
  if (!Number.isFinite(duration_s) || duration_s <= 0) return r;
  if (Math.abs(seconds(r) - duration_s) <= Math.max(1, duration_s * 0.02)) return r;
  return { ...r, parts: [{ from_ms: r.from_ms, to_ms: r.from_ms + Math.round(duration_s * 1_000) }] };
}

/** Where in its file a moment lies, in seconds; null: it has no picture of it. */
export function place(r: Reel, at_ms: number): number | null {
  let before = 0;
  let end = -Infinity;
  for (const part of r.parts) {
    if (at_ms < part.from_ms) return part.from_ms - end <= TOLERANCE_MS ? before / 1_000 : null;
    if (at_ms <= part.to_ms) return (before + at_ms - part.from_ms) / 1_000;
    before += part.to_ms - part.from_ms;
    end = part.to_ms;
  }
  return null;
}

/** From the first picture of any to the last. */
export const whole = (clips: readonly Span[]): Span => ({
  from_ms: Math.min(...clips.map((c) => c.from_ms)), to_ms: Math.max(...clips.map((c) => c.to_ms)),
});

/** A tab that slept, or a slow computer: no jump over what nobody saw. */
const LONGEST_STEP_MS = 250;

/** Where the clock stands after so much time; it waits for none here. */
export const advance = (at_ms: number, passed_ms: number, speed: number, end_ms: number): number =>
  Math.min(end_ms, at_ms + Math.min(Math.max(passed_ms, 0), LONGEST_STEP_MS) * speed);

/** How fast a video plays that is so many seconds ahead of the clock; 'seek': it is too far off to catch up. */
export function tune(ahead_s: number, speed: number): number | 'seek' {
  const off = Math.abs(ahead_s);
  if (off > 0.5 * Math.max(1, speed)) return 'seek';
  if (off < 0.05 * Math.max(1, speed)) return speed;
  return ahead_s > 0 ? speed * 0.9 : speed * 1.1;
}
