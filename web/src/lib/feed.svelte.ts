// The feed as the page has it: pages of the list, and what the line brings in between.

import { api } from './api';
import { app } from './app.svelte';
import {
  admissible, downTo, filterQuery, isFiltered, keyOf, matches, NO_FILTER, ordered, trimmed, upsert, withTriage,
  type Filter, type Items,
} from './feed';
import { problemText } from './problems';
import type { Counts, EventSummary } from './types';

const PAGE = 50;
const KEEP = 300;
/** So many pages of 200 are read after a lost line, to reach as far down as the list did. */
const BRIDGE = 5;
const OPEN = ['new', 'owned', 'dispatched'];

export class Feed {
  filter = $state.raw<Filter>(NO_FILTER);
  items = $state.raw<Items>(new Map());
  counts = $state.raw<Counts | null>(null);
  loading = $state(true);
  failed = $state('');
  done = $state(false);
  readonly lists = $derived(ordered(this.items, this.filter));
  readonly all = $derived([...this.lists.pinned, ...this.lists.rest]);

  #next: string | null = null;
  /** The list was cut: the cursor is of no use, what follows is asked for by time. */
  #cut = false;
  #turn = 0;
  #stop: (() => void)[] = [];
  #counting: ReturnType<typeof setTimeout> | null = null;

  start(filter: Filter): void {
    this.filter = filter;
    this.#stop = [
      app.on('events', (events) => this.#came(events)),
      app.on('triage', ({ node, id, triage }) => {
        this.items = withTriage(this.items, node, id, triage);
        this.#countSoon();
      }),
      app.on('reload', () => void this.load()),
    ];
    void this.load();
  }

  stop(): void {
    for (const stop of this.#stop) stop();
    this.#turn += 1;
    if (this.#counting !== null) clearTimeout(this.#counting);
  }

  choose(filter: Filter): void {
    this.filter = filter;
    this.items = new Map();
    this.counts = null;
    void this.load();
  }

  async load(): Promise<void> {
    const turn = ++this.#turn;
    const known = this.items;
    const oldest = this.lists.rest.at(-1)?.started_ms ?? null;
    this.loading = true;
    this.#cut = false;
    const query = filterQuery(this.filter);
    const wants = this.filter.states.length === 0 ? OPEN : this.filter.states.filter((s) => OPEN.includes(s));
    const pins = this.filter.severity !== 'notice' && wants.length > 0
      ? api.events({ ...query, severity: 'alert', state: wants, limit: 200 })
      : Promise.resolve({ items: [], next: null });
    try {
      const [pinned, page] = await Promise.all([pins, api.events({ ...query, limit: PAGE })]);
      const came = await downTo(page, oldest, BRIDGE, (after) => api.events({ ...query, after, limit: 200 }));
      if (turn !== this.#turn) return;
      // What came by the line meanwhile stays.
      const stays = came.met ? this.items : new Map([...this.items].filter(([key]) => !known.has(key)));
      this.items = upsert(stays, [...pinned.items, ...came.items]);
      this.#next = came.next;
      this.done = came.next === null;
      this.failed = '';
    } catch (error) {
      if (turn !== this.#turn) return;
      this.failed = problemText(error);
    }
    this.loading = false;
    this.#countSoon(0);
  }

  async more(): Promise<void> {
    if (this.loading || this.done || this.failed) return;
    const turn = this.#turn;
    this.loading = true;
    const query = filterQuery(this.filter);
    const oldest = this.lists.rest.at(-1)?.started_ms;
    try {
      const page = await api.events(this.#cut
        ? { ...query, to_ms: oldest === undefined ? query['to_ms'] : oldest + 1, limit: PAGE }
        : { ...query, after: this.#next, limit: PAGE });
      if (turn !== this.#turn) return;
      this.#cut = false;
      this.items = upsert(this.items, page.items);
      this.#next = page.next;
      this.done = page.next === null;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.failed = problemText(error);
    }
    this.loading = false;
  }

  #came(events: EventSummary[]): void {
    const oldest = this.done ? null : (this.lists.rest.at(-1)?.started_ms ?? null);
    const ours = events.filter((e) =>
      this.items.has(keyOf(e)) || (matches(e, this.filter) && admissible(e, oldest)));
    if (ours.length > 0) {
      const grown = upsert(this.items, ours);
      this.items = trimmed(grown, KEEP);
      if (this.items !== grown) {
        this.#cut = true;
        this.done = false;
      }
    }
    this.#countSoon();
  }

  #countSoon(wait = 3_000): void {
    if (!isFiltered(this.filter)) {
      this.counts = null;
      return;
    }
    if (this.#counting !== null) {
      if (wait > 0) return;
      clearTimeout(this.#counting);
    }
    this.#counting = setTimeout(() => {
      this.#counting = null;
      const filter = this.filter;
      api.counts(filterQuery(filter)).then((c) => { if (filter === this.filter) this.counts = c; }, () => {});
    }, wait);
  }
}
