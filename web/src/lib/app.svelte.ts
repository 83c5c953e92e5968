// What the whole page shares: the session, the line to the centre, cameras and nodes, the alerts that wait.
// Views read it; only this file changes it.

import { api, ApiError, whenUnauthorized } from './api';
import { cameraOf, isNews, keyOf } from './feed';
import { language } from './i18n.svelte';
import { remember, remembered } from './prefs';
import { sound } from './sound.svelte';
import { browserSurroundings, Line, type LineState } from './stream';
import type {
  Action, Broker, Camera, Counts, Emergency, EventSummary, Me, NodeState, Site, Triage,
} from './types';

export type Theme = 'dark' | 'light' | 'system';

/** What views can listen for; `reload`: something may have been missed. */
export interface Heard {
  events: EventSummary[];
  triage: { node: string; id: string; triage: Triage };
  snooze: null;
  emergency: null;
  reload: null;
}

type Listener<K extends keyof Heard> = (data: Heard[K]) => void;

/** Events that come together are shown together: a burst is one change of the page. */
const GATHER_MS = 60;
const COUNTS_EVERY_MS = 3_000;
const KNOWN = 5_000;

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
  counts = $state.raw<Counts | null>(null);
  /** The newest alert, to be told on the page until it is put away. */
  news = $state.raw<EventSummary[]>([]);
  theme = $state<Theme>('dark');
  keyboard = $state(remembered('keys') !== 'off');

  #offset = 0;
  #stream: Line | null = null;
  #listeners = new Map<keyof Heard, Set<(data: never) => void>>();
  #gathered: EventSummary[] = [];
  #gathering = false;
  #known = new Set<string>();
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
    whenUnauthorized(() => this.#ended());
    const theme = remembered('theme');
    this.setTheme(theme === 'light' || theme === 'system' ? theme : 'dark');
    language.choose(language.lang);
    await this.reach();
  }

  /** Asks who we are; again after a while when nobody answers. */
  async reach(): Promise<void> {
    try {
      this.site = await api.site();
      this.#clock(this.site.now_ms);
      language.zone = this.site.timezone || language.zone;
      this.enter(await api.me());
      this.unreachable = false;
    } catch (error) {
      const refused = error instanceof ApiError && error.code === 'unauthorized';
      this.unreachable = !refused;
      if (!refused) setTimeout(() => void this.reach(), 3_000);
    }
    this.ready = true;
  }

  enter(me: Me): void {
    this.me = me;
    this.unreachable = false;
    this.#stream?.stop();
    this.#stream = new Line(browserSurroundings(() => api.streamUrl()), {
      state: (state) => {
        this.line = state;
        if (state === 'open') this.brokenSince = null;
        else this.brokenSince ??= this.now;
      },
      hello: (hello) => {
        this.#clock(hello.now_ms);
        if (!hello.resumed) this.#reload();
      },
      message: (name, data) => this.#message(name, data),
      refused: () => { if (this.me) void api.me().catch(() => {}); },
    });
    window.addEventListener('online', this.#online);
    this.#stream.start();
    this.#reload();
  }

  /** Reads anew what is known of who is here: something about the account has changed. */
  async again(): Promise<void> {
    const me = await api.me();
    if (this.me) this.me = me;
  }

  async leave(): Promise<void> {
    await api.logout().catch(() => {});
    this.#ended();
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
    if (triage.state !== 'new') this.forget(`${node}/${id}`);
    this.#countSoon();
  }

  forget(key: string): void {
    if (this.news.some((e) => keyOf(e) === key)) this.news = this.news.filter((e) => keyOf(e) !== key);
  }

  nodeAway(node: string): boolean {
    const state = this.nodes.find((n) => n.node === node);
    return state !== undefined && state.state !== 'online';
  }

  #online = () => this.#stream?.retry();

  #clock(server_ms: number): void {
    this.#offset = server_ms - Date.now();
    this.now = server_ms;
  }

  #ended(): void {
    this.#stream?.stop();
    this.#stream = null;
    window.removeEventListener('online', this.#online);
    this.me = null;
    this.line = 'connecting';
    this.brokenSince = null;
    this.cameras = new Map();
    this.nodes = [];
    this.counts = null;
    this.news = [];
    this.emergencies = [];
    this.#known.clear();
  }

  #reload(): void {
    if (this.can('camera.view')) void this.#loadCameras();
    if (this.can('node.view')) void this.#loadNodes();
    if (this.can('event.view')) this.#countSoon(0);
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

  #loadEmergencies(): void {
    api.emergencies().then((items) => { this.emergencies = items; }, () => {});
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
        this.#tell('snooze', null);
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
    const now = Date.now() + this.#offset;
    const news: EventSummary[] = [];
    for (const e of events) {
      const key = keyOf(e);
      if (isNews(e, this.#known.has(key), now)) news.push(e);
      this.#known.add(key);
    }
    if (this.#known.size > KNOWN) this.#known = new Set([...this.#known].slice(-KNOWN / 2));
    this.#tell('events', events);
    if (news.length > 0) {
      this.news = [...news.reverse(), ...this.news].slice(0, 5);
      sound.alert();
    }
    this.#countSoon(this.counts === null ? 0 : COUNTS_EVERY_MS);
    if (news.length > 0 && this.counts) this.counts = { ...this.counts, new_alerts: this.counts.new_alerts + news.length };
  }
}

export const app = new App();
