// What whoever comes has to know: what nobody has finished, and which eyes are shut. Everything here is a plain function.

import { health, sinceOf, stateName } from './camera';
import { unresolved } from './triage';
import type { Camera, EventSummary, NodeState, TriageState } from './types';

/** A node, or a camera that stands badly for itself. */
export interface Shut {
  node: string;
  /** Null: the node, with all of its cameras. */
  camera: Camera | null;
  state: string;
  since_ms: number | null;
  /** Of a node: how many cameras it has. */
  cameras: number;
}

/** Cameras of a node that is away stand in its row: more is not known of them. */
export function outOfOrder(cameras: readonly Camera[], nodes: readonly NodeState[]): Shut[] {
  const away = nodes.filter((n) => n.state !== 'online');
  const gone = new Set(away.map((n) => n.node));
  const of = (node: string) => cameras.filter((c) => c.node === node).length;
  return [
    ...away.map((n): Shut => ({ node: n.node, camera: null, state: n.state, since_ms: n.since_ms, cameras: of(n.node) })),
    ...cameras
      .filter((c) => !gone.has(c.node) && health(c) !== 'ok')
      .map((c): Shut => ({ node: c.node, camera: c, state: stateName(c), since_ms: sinceOf(c, nodes)?.ms ?? null, cameras: 1 })),
  ];
}

const RANK: Record<TriageState, number> = { new: 0, owned: 1, dispatched: 2, resolved: 3 };

/** Alerts that nobody has first, the longest waiting first; then what somebody has. A notice counts once somebody has it. */
export function unfinished(events: readonly EventSummary[]): EventSummary[] {
  const by = new Map(events.map((e) => [`${e.node}/${e.id}`, e]));
  return [...by.values()]
    .filter((e) => unresolved(e.triage) && (e.severity === 'alert' || e.triage.state !== 'new'))
    .sort((a, b) => RANK[a.triage.state] - RANK[b.triage.state] || a.started_ms - b.started_ms || (a.id < b.id ? -1 : 1));
}
