// How long a picture of a film stands, learnt from when pictures were shown.

/** So many of the last gaps are looked at. */
const KEPT = 30;
/** No camera is that fast or that slow: what lies outside is a seek. */
const SHORTEST_S = 0.005, LONGEST_S = 1;
/** Until something was seen. */
const ASSUMED_S = 0.1;

export class FrameTime {
  #gaps: number[] = [];
  #last: number | null = null;

  /** A picture of `at` seconds was shown; only while it plays the next one is the film's next. */
  shown(at: number, plays: boolean): void {
    const gap = this.#last === null ? 0 : at - this.#last;
    this.#last = at;
    if (plays && gap > SHORTEST_S && gap < LONGEST_S) this.#gaps = [...this.#gaps, gap].slice(-KEPT);
  }

  /** A browser that is busy leaves pictures out: such a gap is as long as several, and says nothing. */
  get seconds(): number {
    const least = Math.min(...this.#gaps);
    const single = this.#gaps.filter((gap) => gap < 1.8 * least);
    return single.length === 0 ? ASSUMED_S : single.reduce((sum, gap) => sum + gap, 0) / single.length;
  }
}
