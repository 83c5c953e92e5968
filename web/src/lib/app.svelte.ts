// What the whole page shares: the session, the line to the centre, cameras and nodes, the alerts that wait.
// Views read it; only this file changes it.

import { api, ApiError, whenUnauthorized } from './api';
import { earlyAnswered, forgetEarly } from './early';
import { cameraOf } from './feed';
import { tellOffset } from './format';
import { language } from './i18n.svelte';
import { News } from './news.svelte';
import { remember, remembered } from './prefs';
import { sound } from './sound.svelte';
import { browserSurroundings, Line, SILENT_MS, type Hello, type LineState } from './stream';
import type {
  Action, Broker, Camera, Counts, Emergency, EventSummary, Me, NodeState, Site, Snooze, Triage,
} from './types';

export type Theme = 'dark' | 'light' | 'system';

/** What views can listen for; `reload`: something may have been missed. */
export interface Heard {
  events: EventSummary[];
  triage: { node: string; id: string; triage: Triage };
  snooze: null;
  emergency: null;
  reload: null;
  /** The session is over: what was known is nobody's any more. */
  ended: null;
}

type Listener<K extends keyof Heard> = (data: Heard[K]) => void;

/** Events that come together are shown together: a burst is one change of the page. */
const GATHER_MS = 60;
const COUNTS_EVERY_MS = 3_000;
/** So long the page waits for the line before it shows cameras and nodes without it. */
const UNHEARD_MS = 1_500;
/** What was missed comes right after the line is back. */
const CATCH_UP_MS = 10_000;
const AGAIN_MS = 5_000;
/** So long the first view waits for what it will show, rather than being laid out twice. */
const TOGETHER_MS = 150;

class App {
  site = $state.raw<Site | null>(null);
  me = $state.raw<Me | null>(null);
  /** The first answer about the session is there. */
  ready = $state(false);
  unreachable = $state(false);
  line = $state<LineState>('connecting');
  brokenSince = $state<number | null>(null);
  now = $state(Date.now());
  cameras = $state.raw<ReadonlyMap<string, Camera>>(new Map());
  nodes = $state.raw<readonly NodeState[]>([]);
  broker = $state.raw<Broker>({ connected: true, trouble: null });
  storeTrouble = $state<string | null>(null);
  clipTrouble = $state<string | null>(null);
  emergencies = $state.raw<readonly Emergency[]>([]);
  /** Null: not read yet. */
  snoozes = $state.raw<readonly Snooze[] | null>(null);
  counts = $state.raw<Counts | null>(null);
  readonly news = new News();
  /** The session ended without anybody having logged out here. */
  expired = $state(false);
  /** What the open view is about, for the page's title. */
  subject = $state('');
  theme = $state<Theme>('dark');
  keyboard = $state(remembered('keys') !== 'off');

  #offset = 0;
  #stream: Line | null = null;
  #listeners = new Map<keyof Heard, Set<(data: never) => void>>();
  #gathered: EventSummary[] = [];
  #gathering = false;
  /** Told to be overdue, and nothing more is known of them. */
  #late = new Set<string>();
  #looking: ReturnType<typeof setTimeout> | undefined;
  #unheard: ReturnType<typeof setTimeout> | undefined;
  #snoozed: ReturnType<typeof setTimeout> | undefined;
  #emergency: ReturnType<typeof setTimeout> | undefined;
  #countsTimer: ReturnType<typeof setTimeout> | null = null;

  can(action: Action): boolean {
    return this.me?.may.includes(action) ?? false;
  }

  get myId(): string {
    return this.me?.user.id ?? '';
  }

  get areas(): string[] {
    return [...new Set([...this.cameras.values()].map((c) => c.area))].filter(Boolean).sort((a, b) => a.localeCompare(b, 'vi'));
  }

  get cameraList(): Camera[] {
    return [...this.cameras.values()].sort((a, b) => a.area.localeCompare(b.area, 'vi') || a.name.localeCompare(b.name, 'vi'));
  }

  on<K extends keyof Heard>(name: K, listener: Listener<K>): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    set.add(listener as (data: never) => void);
    return () => set.delete(listener as (data: never) => void);
  }

  #tell<K extends keyof Heard>(name: K, data: Heard[K]): void {
    for (const listener of this.#listeners.get(name) ?? []) (listener as Listener<K>)(data);
  }

  async start(): Promise<void> {
    setInterval(() => { this.now = Date.now() + this.#offset; }, 1_000);
    whenUnauthorized(() => {
      if (!this.me) return;
      sound.play('ended');
      this.#ended();
      this.expired = true;
    });
    const theme = remembered('theme');
    this.setTheme(theme === 'light' || theme === 'system' ? theme : 'dark');
    await this.reach();
  }

  /** Asks who we are; again after a while when nobody answers. */
  async reach(): Promise<void> {
    try {
      const [site, me] = await Promise.allSettled([api.site(), api.me()]);
      if (site.status === 'rejected') throw site.reason;
      this.site = site.value;
      this.#clock(this.site.now_ms);
      language.zone = this.site.timezone || language.zone;
      tellOffset(language.zone, this.site.utc_offset);
      if (me.status === 'rejected') throw me.reason;
      this.enter(me.value);
      this.unreachable = false;
      if (!this.ready) await earlyAnswered(TOGETHER_MS);
    } catch (error) {
      const refused = error instanceof ApiError && error.code === 'unauthorized';
      this.unreachable = !refused;
      if (!refused) setTimeout(() => void this.reach(), 3_000);
    }
    this.ready = true;
  }

  enter(me: Me): void {
    this.me = me;
    remember('events', this.can('event.view') ? 'on' : 'off');
    this.unreachable = this.expired = false;
    sound.begin();
    this.#stream?.stop();
    this.#stream = new Line(browserSurroundings(() => api.streamUrl()), {
      state: (state) => {
        this.line = state;
        if (state === 'open') this.brokenSince = null;
        else {
          this.brokenSince ??= this.now;
          // It may have been silent for so long before that was noticed.
          this.news.lost(this.brokenSince - SILENT_MS);
        }
      },
      hello: (hello) => this.#hello(hello),
      message: (name, data) => this.#message(name, data),
      refused: () => { if (this.me) void api.me().catch(() => {}); },
    });
    window.addEventListener('online', this.#online);
    this.#stream.start();
    // What is read before the line stands has to be read again; but a line may be slow to come.
    clearTimeout(this.#unheard);
    this.#unheard = setTimeout(() => this.#reload(), UNHEARD_MS);
  }

  /** Reads anew what is known of who is here: something about the account has changed. */
  async again(): Promise<void> {
    const me = await api.me();
    if (this.me) this.me = me;
  }

  async leave(): Promise<void> {
    await api.logout().catch(() => {});
    this.#ended();
    this.expired = false;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    remember('theme', theme);
    document.documentElement.dataset['theme'] = theme;
  }

  setKeyboard(on: boolean): void {
    this.keyboard = on;
    remember('keys', on ? 'on' : 'off');
  }

  /** A triage this person did: shown without waiting for the line. */
  triaged(node: string, id: string, triage: Triage): void {
    this.#tell('triage', { node, id, triage });
    if (!this.news.triaged(node, id, triage)) {
      this.#late.add(`${node}/${id}`);
      this.#lookSoon(GATHER_MS);
    }
    this.#countSoon();
  }

  nodeAway(node: string): boolean {
    const state = this.nodes.find((n) => n.node === node);
    return state !== undefined && state.state !== 'online';
  }

  #online = () => this.#stream?.retry();

  #hello(hello: Hello): void {
    this.#clock(hello.now_ms);
    clearTimeout(this.#unheard);
    if (this.news.behind) {
      // What was missed comes by the line, if it goes on where it broke off.
      clearTimeout(this.#looking);
      if (hello.resumed) this.#looking = setTimeout(() => this.news.caughtUp(), CATCH_UP_MS);
      else this.#lookSoon(0);
    }
    if (!hello.resumed) this.#reload();
  }

  #lookSoon(wait: number): void {
    clearTimeout(this.#looking);
    this.#looking = setTimeout(() => void this.#look(), wait);
  }

  /** Which alerts nobody has: what was missed is among them, and what is overdue. */
  async #look(): Promise<void> {
    const stream = this.#stream;
    if (!this.can('event.view')) return;
    try {
      const { items } = await api.events({ severity: 'alert', state: ['new'], limit: 200 });
      if (stream !== this.#stream) return;
      this.news.found(items, this.#late);
      this.#late.clear();
      this.news.caughtUp();
    } catch {
      // When the line is lost again, it is looked then.
      if (stream === this.#stream && this.line === 'open') this.#lookSoon(AGAIN_MS);
    }
  }

  #clock(server_ms: number): void {
    this.#offset = server_ms - Date.now();
    this.now = server_ms;
  }

  #ended(): void {
    remember('events', 'off');
    forgetEarly();
    this.#stream?.stop();
    this.#stream = null;
    clearTimeout(this.#unheard);
    clearTimeout(this.#snoozed);
    clearTimeout(this.#emergency);
    window.removeEventListener('online', this.#online);
    this.me = null;
    this.line = 'connecting';
    this.brokenSince = null;
    this.cameras = new Map();
    this.nodes = [];
    this.counts = null;
    this.emergencies = [];
    this.snoozes = null;
    this.news.clear();
    this.#late.clear();
    clearTimeout(this.#looking);
    this.#tell('ended', null);
  }

  #reload(): void {
    if (this.can('camera.view')) void this.#loadCameras();
    if (this.can('node.view')) void this.#loadNodes();
    if (this.can('event.view')) this.#countSoon(0);
    if (this.can('snooze')) this.#loadSnoozes();
    if (this.can('live.view') || this.can('emergency')) this.#loadEmergencies();
    this.#tell('reload', null);
  }

  async #loadCameras(): Promise<void> {
    const items = await api.cameras().catch(() => null);
    if (items) this.cameras = new Map(items.map((c) => [cameraOf(c), c]));
  }

  async #loadNodes(): Promise<void> {
    const nodes = await api.nodes().catch(() => null);
    if (!nodes) return;
    this.nodes = nodes.items;
    this.broker = nodes.broker;
    this.storeTrouble = nodes.store_trouble;
    this.clipTrouble = nodes.clip_trouble;
  }

  /** What is snoozed waits for nobody: lists and counters change when a snooze begins, is ended, or runs out. */
  async loadSnoozes(): Promise<void> {
    const items = await api.snoozes();
    if (!this.me) return;
    const ids = (list: readonly Snooze[]) => list.map((s) => s.id).join();
    const changed = this.snoozes !== null && ids(this.snoozes) !== ids(items);
    this.snoozes = items;
    clearTimeout(this.#snoozed);
    if (items.length > 0) {
      const first = Math.min(...items.map((s) => s.until_ms));
      this.#snoozed = setTimeout(() => this.#loadSnoozes(), Math.max(500, first - Date.now() - this.#offset + 200));
    }
    if (!changed) return;
    this.#tell('snooze', null);
    this.#countSoon(0);
  }

  #loadSnoozes(): void {
    this.loadSnoozes().catch(() => {});
  }

  /** What may be watched may be otherwise by now: a connection was refused, or an emergency is over. */
  recheck(): void {
    if (!this.me) return;
    if (this.can('camera.view')) void this.#loadCameras();
    this.#loadEmergencies();
  }

  #loadEmergencies(): void {
    api.emergencies().then((items) => {
      if (!this.me) return;
      this.emergencies = items;
      clearTimeout(this.#emergency);
      if (items.length === 0) return;
      // Nobody is told when one runs out by itself.
      const first = Math.min(...items.map((e) => e.until_ms));
      this.#emergency = setTimeout(() => this.recheck(), Math.max(500, first - Date.now() - this.#offset + 200));
    }, () => {});
  }

  #countSoon(wait = COUNTS_EVERY_MS): void {
    if (this.#countsTimer !== null) {
      if (wait > 0) return;
      clearTimeout(this.#countsTimer);
    }
    this.#countsTimer = setTimeout(() => {
      this.#countsTimer = null;
      if (!this.can('event.view')) return;
      api.counts({}).then((counts) => { this.counts = counts; }, () => {});
    }, wait);
  }

  #message(name: string, data: unknown): void {
    switch (name) {
      case 'event': {
        this.#gathered.push(data as EventSummary);
        if (!this.#gathering) {
          this.#gathering = true;
          setTimeout(() => this.#flush(), GATHER_MS);
        }
        break;
      }
      case 'triage': {
        const { node, id, triage } = data as Heard['triage'];
        this.triaged(node, id, triage);
        break;
      }
      case 'camera': {
        // A change names what changed; of a camera not known yet, or no more there, the whole list is asked for.
        const change = data as Partial<Camera> & { node: string; camera: string };
        const known = this.cameras.get(cameraOf(change));
        if (known && change.state !== 'removed') this.cameras = new Map(this.cameras).set(cameraOf(change), { ...known, ...change });
        else void this.#loadCameras();
        break;
      }
      case 'cameras':
        void this.#loadCameras();
        break;
      case 'node': {
        const came = data as NodeState;
        const known = this.nodes.find((n) => n.node === came.node);
        if (!came.state) {
          void this.#loadNodes();
          break;
        }
        this.nodes = [...this.nodes.filter((n) => n !== known), { ...known, ...came }].sort((a, b) => (a.node < b.node ? -1 : 1));
        // Whether its cameras' states still count depends on it.
        void this.#loadCameras();
        break;
      }
      case 'broker':
        this.broker = data as Broker;
        break;
      case 'snooze':
        this.#loadSnoozes();
        break;
      case 'emergency':
        this.#loadEmergencies();
        this.#tell('emergency', null);
        void this.#loadCameras();
        break;
    }
  }

  #flush(): void {
    this.#gathering = false;
    const events = this.#gathered;
    this.#gathered = [];
    const news = this.news.heard(events, Date.now() + this.#offset);
    this.#tell('events', events);
    this.#countSoon(this.counts === null ? 0 : COUNTS_EVERY_MS);
    if (news > 0 && this.counts) this.counts = { ...this.counts, new_alerts: this.counts.new_alerts + news };
  }
}

export const app = new App();
