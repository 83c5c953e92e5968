// The feed as the page has it: pages of the list, and what the line brings in between. There is one, and it outlives the
// view: whoever comes back to it finds the list, the filter and the place as he left them.

import { api, type Query } from './api';
import { app } from './app.svelte';
import {
  admissible, downTo, filterQuery, fixed, isFiltered, keyOf, matches, NO_FILTER, ordered, reread, sameFilter, trimmed,
  upsert, withTriage, type Filter, type Items,
} from './feed';
import { problemText } from './problems';
import type { Counts, EventSummary, Page, Triage } from './types';

const PAGE = 50;
const KEEP = 300;
/** Whoever reads far down keeps what he reads, up to so many; then it is cut all the same. */
const MOST = 3_000;
/** So many pages of 200 are read after a lost line, to reach as far down as the list did. */
const BRIDGE = 5;
/** So many more pages of 200 are read of the alerts that wait. */
const WAITING = 2;
/** A browser has painted what it was given. */
const PAINTED_MS = 50;
const OPEN = ['new', 'owned', 'dispatched'];
const MINUTE_MS = 60_000;

export class Feed {
  filter = $state.raw<Filter>(NO_FILTER);
  items = $state.raw<Items>(new Map());
  counts = $state.raw<Counts | null>(null);
  loading = $state(true);
  failed = $state('');
  done = $state(false);
  /** More alerts wait than were read. */
  moreWait = $state(false);
  /** The one that is shown beside the list. */
  selected = $state<string | null>(null);
  /** Where the list was left: that event stood so far below the upper edge. Null: at the top. */
  place: { key: string; below: number } | null = null;
  /** The one that was opened last. */
  opened: string | null = null;
  /** Somebody reads far down: what he reads stays. */
  deep = false;

  /** The filter with "the last hour" as it is now. */
  #applied = $state.raw<Filter>(NO_FILTER);
  readonly lists = $derived(ordered(this.items, this.#applied));
  readonly all = $derived([...this.lists.pinned, ...this.lists.rest]);

  #next: string | null = null;
  /** The list was cut: the cursor is of no use, what follows is asked for by time. */
  #cut = false;
  /** Something may have been missed while a list was on its way. */
  #stale = false;
  #turn = 0;
  #shown = false;
  #stop: (() => void)[] = [];
  #counting: ReturnType<typeof setTimeout> | null = null;
  #rereading: ReturnType<typeof setTimeout> | null = null;

  /** What the centre is asked for. */
  get query() {
    return filterQuery(this.#applied);
  }

  /** It is looked at, with this filter. True: it is as it was left. */
  show(filter: Filter): boolean {
    this.#shown = true;
    const begun = this.#stop.length > 0;
    if (!begun) this.#listen();
    if (!begun || !sameFilter(filter, this.filter)) {
      this.choose(filter);
      return false;
    }
    if (this.failed) void this.load();
    this.#countSoon(0);
    return true;
  }

  hide(): void {
    this.#shown = false;
  }

  toTop(): void {
    this.place = this.opened = null;
  }

  choose(filter: Filter): void {
    this.filter = filter;
    this.items = new Map();
    this.counts = null;
    this.toTop();
    void this.load();
  }

  #listen(): void {
    const minute = setInterval(() => { if (this.filter.within_ms !== null) this.#apply(); }, MINUTE_MS);
    this.#stop = [
      app.on('events', (events) => this.#came(events)),
      app.on('triage', ({ node, id, triage }) => this.#triaged(node, id, triage)),
      app.on('reload', () => this.#reload()),
      app.on('snooze', () => this.#reload()),
      app.on('ended', () => this.#clear()),
      () => clearInterval(minute),
    ];
  }

  /** Somebody else may come: he finds nothing of it. */
  #clear(): void {
    for (const stop of this.#stop) stop();
    this.#stop = [];
    this.#turn += 1;
    for (const timer of [this.#counting, this.#rereading]) if (timer !== null) clearTimeout(timer);
    this.#counting = this.#rereading = null;
    this.filter = this.#applied = NO_FILTER;
    this.items = new Map();
    this.counts = this.selected = null;
    this.loading = true;
    this.done = this.moreWait = this.deep = this.#stale = false;
    this.failed = '';
    this.toTop();
  }

  #apply(): void {
    this.#applied = fixed(this.filter, app.now);
  }

  async load(): Promise<void> {
    const turn = ++this.#turn;
    this.#apply();
    const known = this.items;
    const oldest = this.lists.rest.at(-1)?.started_ms ?? null;
    this.loading = true;
    this.#cut = false;
    const query = this.query;
    const waiting = this.#waiting();
    try {
      const [pins, page] = await Promise.all([waiting && api.events(waiting), api.events({ ...query, limit: PAGE })]);
      const came = await downTo(page, oldest, BRIDGE, (after) => api.events({ ...query, after, limit: 200 }));
      if (turn !== this.#turn) return;
      this.items = reread(this.items, known, came, pins);
      this.moreWait = pins !== null && pins.next !== null;
      this.#next = came.next;
      this.done = came.next === null;
      this.failed = '';
      app.news.seen([...(pins?.items ?? []), ...came.items], app.now);
      // Those that have waited longest come last, and are to stand first. What is there is shown meanwhile.
      if (pins?.next) setTimeout(() => void this.#allWaiting(turn, known, { ...waiting }, pins).catch(() => {}), PAINTED_MS);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.failed = problemText(error);
    }
    this.#loaded();
    this.#countSoon(0);
  }

  /** Asks for alerts that wait, however old; null: the filter is for none. */
  #waiting(): Query | null {
    const wants = this.#wants().filter((s) => OPEN.includes(s));
    return this.filter.severity === 'notice' || wants.length === 0 ? null : { ...this.query, severity: 'alert', state: wants, limit: 200 };
  }

  async #allWaiting(turn: number, known: Items, query: Query, first: Page<EventSummary>): Promise<void> {
    const pins = await downTo(first, -Infinity, WAITING, (after) => api.events({ ...query, after }));
    if (turn !== this.#turn) return;
    this.items = reread(this.items, known, { items: [], met: true }, pins);
    this.moreWait = pins.next !== null;
    app.news.seen(pins.items, app.now);
  }

  #wants(): readonly string[] {
    return this.filter.states.length === 0 ? OPEN : this.filter.states;
  }

  #reload(): void {
    // What is on its way is shown first.
    if (this.loading) this.#stale = true;
    else void this.load();
  }

  #loaded(): void {
    this.loading = false;
    if (!this.#stale) return;
    this.#stale = false;
    void this.load();
  }

  async more(): Promise<void> {
    if (this.loading || this.done || this.failed) return;
    const turn = this.#turn;
    this.loading = true;
    const query = this.query;
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
    this.#loaded();
  }

  #came(events: EventSummary[]): void {
    const oldest = this.done ? null : (this.lists.rest.at(-1)?.started_ms ?? null);
    const ours = events.filter((e) =>
      this.items.has(keyOf(e)) || (matches(e, this.#applied) && admissible(e, oldest)));
    if (ours.length > 0) {
      const grown = upsert(this.items, ours);
      this.items = this.deep && grown.size <= MOST ? grown : trimmed(grown, KEEP);
      if (this.items !== grown) {
        this.#cut = true;
        this.done = false;
      }
    }
    this.#countSoon();
  }

  #triaged(node: string, id: string, triage: Triage): void {
    this.items = withTriage(this.items, node, id, triage);
    // One that belongs into the list from now on, and is not in it: what is told of it is too little to show it.
    if (!this.items.has(`${node}/${id}`) && this.#wants().includes(triage.state)) {
      this.#rereading ??= setTimeout(() => { this.#rereading = null; this.#reload(); }, 1_000);
    }
    this.#countSoon();
  }

  #countSoon(wait = 3_000): void {
    if (!isFiltered(this.filter)) {
      this.counts = null;
      return;
    }
    if (!this.#shown) return;
    if (this.#counting !== null) {
      if (wait > 0) return;
      clearTimeout(this.#counting);
    }
    this.#counting = setTimeout(() => {
      this.#counting = null;
      const filter = this.filter;
      api.counts(this.query).then((c) => { if (filter === this.filter) this.counts = c; }, () => {});
    }, wait);
  }
}

export const feed = new Feed();
