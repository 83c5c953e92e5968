// Only the newest question counts: it is asked when nothing newer came for a while, and an older one under way is
// called off.

export class Newest<I> {
  #timer: ReturnType<typeof setTimeout> | null = null;
  #running: AbortController | null = null;

  constructor(
    private readonly wait_ms: number,
    private readonly run: (input: I, signal: AbortSignal) => Promise<void>,
  ) {}

  ask(input: I): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      const running = new AbortController();
      this.#running = running;
      void this.run(input, running.signal).catch(() => {}).finally(() => {
        if (this.#running === running) this.#running = null;
      });
    }, this.wait_ms);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#running?.abort();
    this.#running = null;
  }
}
