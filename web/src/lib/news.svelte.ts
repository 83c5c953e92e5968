// What stands at the edge of the page until it is put away or dealt with, and when it is heard.

import { calls, keyOf } from './feed';
import { isFresh, isMissed, isNews, isOverdue, keyOfTold, told, without, type Told } from './news';
import { sound } from './sound.svelte';
import type { EventSummary, Triage } from './types';

const KNOWN = 5_000;
const ALERTS = 1_000;

export class News {
  told = $state.raw<readonly Told[]>([]);
  /** What was told last, to be read out: only what is new, however the list above changes. */
  latest = $state.raw<readonly Told[]>([]);

  #known = new Set<string>();
  /** Alerts that wait, as far as they were heard of: who is told that one is overdue is told only which. */
  #alerts = new Map<string, EventSummary>();
  #overdue = new Set<string>();
  /** Since when nothing was heard of the centre; what came since then and is not known was missed. */
  #gap_ms: number | null = null;

  /** What came by the line; says how many alerts are new. */
  heard(events: readonly EventSummary[], now_ms: number): number {
    const came: Told[] = [];
    const late: Told[] = [];
    const missed: string[] = [];
    for (const e of events) {
      const key = keyOf(e);
      const known = this.#known.has(key);
      if (isNews(e, known, now_ms)) came.push({ what: 'alert', event: e });
      else if (isMissed(e, known, this.#gap_ms)) missed.push(key);
      // A new revision may tell it before the change of its triage does.
      else if (known && isOverdue(e) && !this.#overdue.has(key)) late.push({ what: 'overdue', event: e });
      this.#note(e);
    }
    const count = came.length + missed.length;
    if (missed.length > 0) came.unshift({ what: 'missed', keys: missed });
    this.#tell([...came, ...late]);
    return count;
  }

  /** What a list shows. Nothing is news by it, nor less so: the line may be about to tell the same. */
  seen(events: readonly EventSummary[], now_ms: number): void {
    // Not while it is open what was missed: that is found out of one list.
    if (this.#gap_ms !== null) return;
    for (const e of events) {
      this.#keep(e);
      if (isOverdue(e) && !isFresh(e.triage.updated_ms ?? 0, now_ms)) this.#overdue.add(keyOf(e));
    }
  }

  /** Something may have been missed, and it is not yet known what. */
  get behind(): boolean {
    return this.#gap_ms !== null;
  }

  /** The line is lost since then. */
  lost(since_ms: number): void {
    this.#gap_ms = Math.min(this.#gap_ms ?? since_ms, since_ms);
  }

  /** All that was missed is told. */
  caughtUp(): void {
    this.#gap_ms = null;
  }

  /** Alerts that nobody has, read anew: after a lost line, or because some of them, `overdue`, were not known. */
  found(events: readonly EventSummary[], overdue: ReadonlySet<string>): void {
    const gap = this.#gap_ms;
    const missed = events.filter((e) => isMissed(e, this.#known.has(keyOf(e)), gap)).map(keyOf);
    const since = (e: EventSummary) => overdue.has(keyOf(e)) || (gap !== null && (e.triage.updated_ms ?? 0) >= gap);
    const late = events.filter((e) => isOverdue(e) && !this.#overdue.has(keyOf(e)) && !missed.includes(keyOf(e)) && since(e));
    for (const e of events) this.#note(e);
    const came: Told[] = late.map((event) => ({ what: 'overdue', event }));
    if (missed.length > 0) came.push({ what: 'missed', keys: missed });
    this.#tell(came);
  }

  /** What became of an event. False: it is overdue, and nothing more is known of it. */
  triaged(node: string, id: string, triage: Triage): boolean {
    const key = `${node}/${id}`;
    if (triage.state !== 'new') {
      this.#alerts.delete(key);
      this.forget(key);
    }
    const have = this.#alerts.get(key);
    if (!triage.escalated || triage.state !== 'new' || triage.snoozed) {
      this.#overdue.delete(key);
      return true;
    }
    if (this.#overdue.has(key)) return true;
    if (!have) return false;
    const event = { ...have, triage };
    this.#alerts.set(key, event);
    this.#overdue.add(key);
    this.#tell([{ what: 'overdue', event }]);
    return true;
  }

  forget(key: string): void {
    this.told = without(this.told, key);
  }

  putAway(one: Told): void {
    this.told = this.told.filter((o) => keyOfTold(o) !== keyOfTold(one));
  }

  clear(): void {
    this.told = this.latest = [];
    this.#known.clear();
    this.#alerts.clear();
    this.#overdue.clear();
    this.#gap_ms = null;
  }

  #note(e: EventSummary): void {
    this.#keep(e);
    if (isOverdue(e)) this.#overdue.add(keyOf(e));
    this.#known.add(keyOf(e));
    if (this.#known.size > KNOWN) this.#known = new Set([...this.#known].slice(-KNOWN / 2));
  }

  #keep(e: EventSummary): void {
    if (calls(e)) this.#alerts.set(keyOf(e), e);
    else this.#alerts.delete(keyOf(e));
    if (this.#alerts.size > ALERTS) this.#alerts.delete(this.#alerts.keys().next().value!);
  }

  #tell(came: readonly Told[]): void {
    if (came.length === 0) return;
    this.told = told(this.told, came);
    this.latest = came;
    sound.play(came.some((one) => one.what === 'overdue') ? 'overdue' : 'alert');
  }
}
