// Pictures of a camera's recordings under a moving pointer: asked for when it rests, one at a time, on a grid of ten
// seconds, and kept for a while. Where nothing was recorded nothing is asked.

import type { Recordings } from './types';

export const GRID_MS = 10_000;
/** A pointer that moved on within this wanted no picture. */
export const REST_MS = 120;
/** After an answer that may be another one soon. */
export const AGAIN_MS = 5_000;
const KEPT = 150;

/**
 * Where to ask for the picture of a moment: on the grid, but within what was recorded. On a whole day a pixel is more than a
 * minute, and recordings around events are shorter: what lies within `near_ms` counts as hit. Null: nothing was recorded.
 */
export function spot(at_ms: number, recordings: Recordings, near_ms = 0): number | null {
  let best: { from_ms: number; at_ms: number } | null = null;
  let far = Infinity;
  for (const s of recordings.segments) {
    const nearest = Math.min(Math.max(at_ms, s.from_ms), s.to_ms - 1);
    if (Math.abs(nearest - at_ms) < far) {
      far = Math.abs(nearest - at_ms);
      best = { from_ms: s.from_ms, at_ms: nearest };
    }
  }
  return best && far <= near_ms ? Math.max(Math.floor(best.at_ms / GRID_MS) * GRID_MS, best.from_ms) : null;
}

/** Why there is nothing, when a gap says so. */
export const gapAt = (at_ms: number, recordings: Recordings) =>
  recordings.gaps.find((g) => at_ms >= g.from_ms && at_ms < g.to_ms)?.reason ?? null;

export interface Shown { picture: string; at_ms: number | null }
export type Look = { kind: 'none' } | { kind: 'waiting' } | ({ kind: 'picture' } & Shown) | { kind: 'failed'; error: unknown };

export interface Around {
  ask: (at_ms: number) => Promise<Shown>;
  /** What is over for the whole camera, so that moving on asks no more. */
  final: (error: unknown) => boolean;
  show: (look: Look) => void;
  drop: (picture: string) => void;
  after: (ms: number, run: () => void) => () => void;
}

export class Peek {
  #kept = new Map<number, Shown>();
  #wanted: number | null = null;
  #asking = false;
  #over: unknown = null;
  #waits: (() => void) | null = null;
  #stopped = false;

  constructor(private readonly around: Around) {}

  /** The pointer is over this spot; null: over none. */
  want(spot: number | null): void {
    if (spot !== null && spot === this.#wanted) return;
    this.#wanted = spot;
    this.#waits?.();
    this.#waits = null;
    if (spot === null) return this.around.show({ kind: 'none' });
    if (this.#over !== null) return this.around.show({ kind: 'failed', error: this.#over });
    const kept = this.#kept.get(spot);
    if (kept) return this.around.show({ kind: 'picture', ...kept });
    this.around.show({ kind: 'waiting' });
    this.#soon(REST_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#waits?.();
    this.#wanted = null;
    for (const { picture } of this.#kept.values()) this.around.drop(picture);
    this.#kept.clear();
  }

  #soon(ms: number): void {
    this.#waits = this.around.after(ms, () => {
      this.#waits = null;
      void this.#ask();
    });
  }

  async #ask(): Promise<void> {
    const spot = this.#wanted;
    if (spot === null || this.#asking) return;
    this.#asking = true;
    let failed = false;
    try {
      const came = await this.around.ask(spot);
      if (this.#stopped) return this.around.drop(came.picture);
      this.#keep(spot, came);
      if (spot === this.#wanted) this.around.show({ kind: 'picture', ...came });
    } catch (error) {
      if (this.#stopped) return;
      if (this.around.final(error)) this.#over = error;
      failed = true;
      if (spot === this.#wanted || this.#over !== null) this.around.show({ kind: 'failed', error });
    } finally {
      this.#asking = false;
    }
    // Only the latest wish counts, however many there were meanwhile.
    const now = this.#wanted;
    if (this.#waits !== null || now === null || this.#over !== null) return;
    if (now !== spot) this.#soon(0);
    else if (failed) this.#soon(AGAIN_MS);
  }

  #keep(spot: number, shown: Shown): void {
    this.#kept.set(spot, shown);
    const [oldest] = this.#kept;
    if (this.#kept.size <= KEPT || !oldest) return;
    this.#kept.delete(oldest[0]);
    this.around.drop(oldest[1].picture);
  }
}
