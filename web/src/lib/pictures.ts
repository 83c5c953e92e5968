// Of which event each camera's last picture is.

import { cameraOf } from './feed';
import type { EventSummary } from './types';

/** By `node/camera`. */
export type Pictures = ReadonlyMap<string, EventSummary>;

/** With what came; the same when it has nothing newer. */
export function latest(known: Pictures, came: readonly EventSummary[]): Pictures {
  let next: Map<string, EventSummary> | null = null;
  for (const e of came) {
    if (!e.has_snapshot || e.camera === null) continue;
    const key = cameraOf(e);
    const have = (next ?? known).get(key);
    if (have && (have.started_ms > e.started_ms || (have.id === e.id && have.snapshot === e.snapshot))) continue;
    next ??= new Map(known);
    next.set(key, e);
  }
  return next ?? known;
}
