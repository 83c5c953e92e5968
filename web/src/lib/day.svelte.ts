// A day of several cameras: what was recorded, and what happened. A day that is going on is read again as it goes.

import { api } from './api';
import { app } from './app.svelte';
import { cameraOf, upsert, type Items } from './feed';
import { pages } from './pages';
import { problemText } from './problems';
import type { EventSummary, Recordings } from './types';
import type { Span } from './timeline';

/** Pages of 200 events. */
const MOST_PAGES = 10;
const EVERY_MS = 60_000;

export class Day {
  recordings = $state.raw<Readonly<Record<string, Recordings>>>({});
  failures = $state.raw<Readonly<Record<string, string>>>({});
  events = $state.raw<Items>(new Map());
  /** The events that there were are here. */
  loaded = $state(false);
  eventsFailed = $state('');
  /** There are older events than these. */
  cut = $state(false);
  #cameras: readonly string[] = [];
  #span: Span = { from_ms: 0, to_ms: 0 };
  #turn = 0;

  /** Follows what happens until the function that it gives is called. */
  start(): () => void {
    const stops = [
      app.on('events', (came) => this.#came(came)),
      app.on('reload', () => this.again()),
    ];
    const timer = setInterval(() => {
      if (!document.hidden) this.#indexes(this.#cameras.filter((key) => this.#goesOn() || key in this.failures));
    }, EVERY_MS);
    return () => {
      for (const stop of stops) stop();
      clearInterval(timer);
      this.#turn += 1;
    };
  }

  load(cameras: readonly string[], span: Span): void {
    const same = span.from_ms === this.#span.from_ms;
    const stays = <T>(of: Readonly<Record<string, T>>) => Object.fromEntries(Object.entries(of).filter(([key]) => same && cameras.includes(key)));
    this.recordings = stays(this.recordings);
    this.failures = stays(this.failures);
    this.events = new Map();
    this.loaded = this.cut = false;
    [this.#cameras, this.#span] = [cameras, span];
    this.again();
  }

  again(): void {
    this.#turn += 1;
    this.#indexes(this.#cameras);
    void this.#events();
  }

  retry(key: string): void {
    this.#indexes([key]);
  }

  /** A camera's events; null: not all of them are known. */
  of(key: string): EventSummary[] | null {
    return !this.loaded || this.cut ? null : [...this.events.values()].filter((e) => cameraOf(e) === key);
  }

  #goesOn(): boolean {
    return app.now >= this.#span.from_ms && app.now < this.#span.to_ms + EVERY_MS;
  }

  #indexes(keys: readonly string[]): void {
    const mine = this.#turn;
    for (const key of keys) {
      const [node = '', camera = ''] = key.split('/');
      api.recordings(node, camera, this.#span.from_ms, this.#span.to_ms).then((found) => {
        if (mine !== this.#turn) return;
        this.recordings = { ...this.recordings, [key]: found };
        const { [key]: _, ...others } = this.failures;
        this.failures = others;
      }, (error) => {
        // What was known before is still true.
        if (mine === this.#turn) this.failures = { ...this.failures, [key]: problemText(error) };
      });
    }
  }

  async #events(): Promise<void> {
    const mine = this.#turn;
    if (this.#cameras.length === 0 || !app.can('search')) return;
    try {
      const query = { camera: [...this.#cameras], ...this.#span, limit: 200 };
      const { items, cut } = await pages(MOST_PAGES, (after) => api.events({ ...query, after }));
      if (mine !== this.#turn) return;
      this.events = upsert(this.events, items);
      this.loaded = true;
      this.cut = cut;
      this.eventsFailed = '';
    } catch (error) {
      if (mine === this.#turn) this.eventsFailed = problemText(error);
    }
  }

  #came(events: EventSummary[]): void {
    const ours = events.filter((e) => this.#cameras.includes(cameraOf(e)) && e.started_ms >= this.#span.from_ms && e.started_ms < this.#span.to_ms);
    if (ours.length > 0) this.events = upsert(this.events, ours);
  }
}
