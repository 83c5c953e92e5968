// What is heard: short tones, made here. Browsers allow them after the first touch or key, and may take that back.

import { remember, remembered } from './prefs';

export type Tune = 'alert' | 'overdue' | 'ended';
type Tone = readonly [at: number, pitch: number];

const TUNES: Record<Tune, readonly Tone[]> = {
  alert: [[0, 880], [0.22, 660], [0.44, 880]],
  // Longer and higher: somebody has to come.
  overdue: [[0, 990], [0.2, 1320], [0.4, 990], [0.6, 1320], [0.9, 990], [1.1, 1320], [1.3, 990], [1.5, 1320]],
  // Falls: from now on there is silence.
  ended: [[0, 660], [0.3, 495], [0.6, 330]],
};
/** Not the press itself: what says that sound waits leaves the page then, and what is below it would move from under the
 *  finger before it is lifted. */
const GESTURES = ['click', 'keydown'] as const;
/** First comes what is to be seen. */
const FIRST_MS = 300;
/** A browser that allows it without a gesture has begun by then. */
const BEGUN_MS = 1_000;

class Sound {
  on = $state(remembered('sound') !== 'off');
  /** Wanted, and the browser waits for a gesture: nothing would be heard. */
  locked = $state(false);
  #context: AudioContext | null = null;
  #begun = false;

  /** Somebody is to hear what happens from now on. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    setTimeout(() => this.#open(), FIRST_MS);
  }

  #open(): void {
    this.#context = new AudioContext();
    this.#context.onstatechange = this.#look;
    setTimeout(this.#look, BEGUN_MS);
    // For as long as the page is there: a phone call, or a computer that slept, suspends it again.
    for (const name of GESTURES) window.addEventListener(name, this.unlock, { passive: true, capture: true });
  }

  unlock = (): void => {
    if (this.#context && this.#context.state !== 'running') void this.#context.resume().then(this.#look, () => {});
  };

  #look = (): void => {
    this.locked = this.#context !== null && this.#context.state !== 'running';
  };

  toggle(): void {
    this.on = !this.on;
    remember('sound', this.on ? 'on' : 'off');
    if (this.on) this.play('alert');
  }

  play(tune: Tune): void {
    const context = this.#context;
    if (!this.on || context?.state !== 'running') return;
    for (const [at, pitch] of TUNES[tune]) {
      const tone = context.createOscillator();
      const volume = context.createGain();
      const start = context.currentTime + at;
      tone.type = 'triangle';
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(0.25, start + 0.02);
      volume.gain.linearRampToValueAtTime(0, start + 0.18);
      tone.connect(volume).connect(context.destination);
      tone.start(start);
      tone.stop(start + 0.2);
    }
  }
}

export const sound = new Sound();
