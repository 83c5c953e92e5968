// The sound of a new alert: two short tones, made here. Browsers allow it after the first touch or key.

import { remember, remembered } from './prefs';

class Sound {
  on = $state(remembered('sound') === 'on');
  /** Wanted, and the browser still waits for a first gesture. */
  locked = $state(true);
  #context: AudioContext | null = null;

  constructor() {
    const unlock = () => {
      this.#context ??= new AudioContext();
      void this.#context.resume().then(() => {
        this.locked = this.#context?.state !== 'running';
        if (!this.locked) for (const name of GESTURES) window.removeEventListener(name, unlock);
      });
    };
    for (const name of GESTURES) window.addEventListener(name, unlock, { passive: true });
  }

  toggle(): void {
    this.on = !this.on;
    remember('sound', this.on ? 'on' : 'off');
    if (this.on) this.alert();
  }

  alert(): void {
    const context = this.#context;
    if (!this.on || context?.state !== 'running') return;
    for (const [at, pitch] of [[0, 880], [0.22, 660], [0.44, 880]] as const) {
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

const GESTURES = ['pointerdown', 'keydown'] as const;

export const sound = new Sound();
