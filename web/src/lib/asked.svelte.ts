// What this person asked of nodes in this session of the browser. It outlives the view it was asked in and a reload; how
// it stands is always read from the centre.

import { api, ApiError } from './api';
import { app } from './app.svelte';
import { isOver, note, pollEvery, recall, type Asked, type Standing } from './asked';
import { keep, kept } from './prefs';
import { problemText } from './problems';

const NAME = 'asked';
const MOST = 30;

class AskedStore {
  /** Newest first. */
  items = $state.raw<readonly Standing[]>([]);
  #user = '';
  #timer: ReturnType<typeof setTimeout> | null = null;
  #reading = false;
  #since = 0;

  /** Takes up what was asked before; to be called by whatever shows it. */
  begin(): void {
    if (this.#user !== app.myId) {
      this.#user = app.myId;
      const before = recall(kept(NAME), this.#user);
      this.items = before.map((a) => ({ ...a, state: null, trouble: '', closed: false }));
      keep(NAME, note(this.#user, before));
    }
    this.#soon(0);
  }

  add(asked: Asked): void {
    this.begin();
    const fresh: Standing = { ...asked, state: null, trouble: '', closed: false };
    this.#set([fresh, ...this.items.filter((s) => s.command !== asked.command)].slice(0, MOST));
    this.#soon(0);
  }

  #set(items: readonly Standing[]): void {
    this.items = items;
    keep(NAME, note(this.#user, items));
  }

  #soon(wait: number): void {
    if (wait === 0) this.#since = Date.now();
    if (this.#reading) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#read(), wait);
  }

  async #read(): Promise<void> {
    this.#timer = null;
    const user = this.#user;
    this.#reading = true;
    await Promise.all(this.items.filter((s) => !isOver(s)).map((s) => this.#readOne(s.command, user)));
    this.#reading = false;
    if (user !== this.#user) this.#soon(0);
    else if (user === app.myId && this.items.some((s) => !isOver(s))) this.#soon(pollEvery(this.#since, Date.now()));
  }

  async #readOne(command: string, user: string): Promise<void> {
    let change: Partial<Standing> | null;
    try {
      change = { state: await api.command(command), trouble: '' };
    } catch (error) {
      const code = error instanceof ApiError ? error.code : '';
      // What the centre knows no more is not shown any longer; what it forbids is said, and not asked for again.
      change = code === 'not-found' ? null : { trouble: problemText(error), closed: code === 'forbidden' };
    }
    if (user !== app.myId || user !== this.#user) return;
    if (change === null) this.#set(this.items.filter((s) => s.command !== command));
    else this.items = this.items.map((s) => (s.command === command ? { ...s, ...change } : s));
  }
}

export const asked = new AskedStore();
