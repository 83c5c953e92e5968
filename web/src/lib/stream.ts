// The line on which the centre tells everything that happens. Opens it again when it breaks, notices
// when it has gone silent, and says how it stands. No page, no state of its own beyond the line.

export type LineState = 'connecting' | 'open' | 'broken' | 'lost';

export interface Hello { now_ms: number; boot: string; resumed: boolean }

export interface SourceLike {
  readyState: number;
  onopen: (() => void) | null;
  onerror: (() => void) | null;
  addEventListener(name: string, handler: (event: { data: string }) => void): void;
  close(): void;
}

export interface Surroundings {
  open: () => SourceLike;
  now: () => number;
  after: (ms: number, run: () => void) => () => void;
  /** 0 to 1. */
  random: () => number;
}

export interface Handlers {
  state: (state: LineState) => void;
  hello: (hello: Hello) => void;
  message: (name: string, data: unknown) => void;
  /** The server refused the line itself; perhaps the session is over. */
  refused: () => void;
}

export const NAMES = ['event', 'triage', 'camera', 'cameras', 'node', 'broker', 'snooze', 'emergency', 'ping'] as const;
/** Not open for so long: people are told that what they see stands still. */
export const LOST_MS = 5_000;
/** The centre speaks at least every 15 s; silence beyond this is a dead line. */
export const SILENT_MS = 20_000;
const CLOSED = 2;
const BACK_OFF_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

export class Line {
  #source: SourceLike | null = null;
  #state: LineState = 'connecting';
  #tries = 0;
  #stopped = false;
  #lostTimer: (() => void) | null = null;
  #silenceTimer: (() => void) | null = null;
  #retryTimer: (() => void) | null = null;

  constructor(
    private readonly around: Surroundings,
    private readonly handlers: Handlers,
  ) {}

  start(): void {
    this.#stopped = false;
    this.#watchLoss();
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of [this.#lostTimer, this.#silenceTimer, this.#retryTimer]) timer?.();
    this.#lostTimer = this.#silenceTimer = this.#retryTimer = null;
    this.#source?.close();
    this.#source = null;
  }

  /** Now, without waiting: the browser says that the network is back. */
  retry(): void {
    if (this.#stopped || this.#state === 'open') return;
    this.#connect();
  }

  #set(state: LineState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.handlers.state(state);
  }

  #connect(): void {
    this.#retryTimer?.();
    this.#retryTimer = null;
    this.#source?.close();
    const source = this.around.open();
    this.#source = source;
    const current = () => source === this.#source && !this.#stopped;
    source.onopen = () => { if (current()) this.#alive(); };
    source.onerror = () => { if (current()) this.#broken(); };
    source.addEventListener('hello', (event) => {
      if (!current()) return;
      this.#alive();
      const hello = parse(event.data) as Hello | null;
      if (hello) this.handlers.hello(hello);
    });
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (!current()) return;
        this.#alive();
        const data = parse(event.data);
        if (data !== null && name !== 'ping') this.handlers.message(name, data);
      });
    }
  }

  #alive(): void {
    this.#tries = 0;
    this.#lostTimer?.();
    this.#lostTimer = null;
    this.#silenceTimer?.();
    this.#silenceTimer = this.around.after(SILENT_MS, () => this.#dead());
    this.#set('open');
  }

  #broken(): void {
    this.#silenceTimer?.();
    this.#silenceTimer = null;
    if (this.#state === 'open') this.#set('broken');
    this.#watchLoss();
    // Otherwise the browser itself comes back, and says with which message it had stopped.
    if (this.#source?.readyState === CLOSED) this.#comeBack();
  }

  #dead(): void {
    this.#source?.close();
    this.#set('broken');
    this.#watchLoss();
    this.#comeBack();
  }

  #comeBack(): void {
    this.handlers.refused();
    if (this.#stopped || this.#retryTimer) return;
    const wait = BACK_OFF_MS[Math.min(this.#tries, BACK_OFF_MS.length - 1)]!;
    this.#tries += 1;
    this.#retryTimer = this.around.after(wait * (0.75 + this.around.random() / 2), () => {
      this.#retryTimer = null;
      this.#connect();
    });
  }

  #watchLoss(): void {
    if (this.#lostTimer || this.#state === 'lost') return;
    this.#lostTimer = this.around.after(LOST_MS, () => {
      this.#lostTimer = null;
      this.#set('lost');
    });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

export function browserSurroundings(url: () => string): Surroundings {
  return {
    open: () => new EventSource(url()) as unknown as SourceLike,
    now: () => Date.now(),
    after: (ms, run) => {
      const id = setTimeout(run, ms);
      return () => clearTimeout(id);
    },
    random: Math.random,
  };
}
