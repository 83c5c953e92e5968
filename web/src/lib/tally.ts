// What a map counts: a camera's events of the last day, and its alerts that wait, however old they are.

import { cameraOf, isPinned, type Items } from './feed';

export interface Tally { all: number; waiting: number }

/** Without what is older and waits no longer: a map that hangs on a wall runs all night. The same when nothing goes. */
export function pruned(items: Items, since_ms: number): Items {
  const stays = [...items].filter(([, e]) => e.started_ms > since_ms || isPinned(e));
  return stays.length === items.size ? items : new Map(stays);
}

export function tally(items: Items, since_ms: number): Map<string, Tally> {
  const by = new Map<string, Tally>();
  for (const e of items.values()) {
    const recent = e.started_ms > since_ms;
    const waits = isPinned(e);
    if (!recent && !waits) continue;
    const one = by.get(cameraOf(e)) ?? { all: 0, waiting: 0 };
    if (recent) one.all += 1;
    if (waits) one.waiting += 1;
    by.set(cameraOf(e), one);
  }
  return by;
}
