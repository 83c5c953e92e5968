// What was asked of nodes, without the page: what is remembered of it, when it is over, what plays together.

import type { Span } from './timeline';
import type { Clip, Command } from './types';

export type AskKind = 'clip' | 'hold';

/** What is remembered in the browser: numbers by which it is found again, and nothing that is to be seen. */
export interface Asked extends Span {
  command: string;
  kind: AskKind;
  /** `node/camera` */
  camera: string;
  /** `node/event` it was asked from. */
  event: string | null;
}

export interface Standing extends Asked {
  /** As the centre last said; null: not read yet. */
  state: Command | null;
  trouble: string;
  /** The centre says no more about it. */
  closed: boolean;
}

/** Nothing more will come: the node has answered, and a clip is here. */
export function isOver(s: Standing): boolean {
  if (s.closed) return true;
  if (s.state === null || s.state.state === 'pending') return false;
  return s.kind === 'hold' || s.state.state !== 'done' || s.state.clip !== null;
}

export const clipOf = (s: Standing): Clip | null => (s.kind === 'clip' ? (s.state?.clip ?? null) : null);

/** Reads what was remembered for this person; what another one asked is his affair. */
export function recall(text: string | null, user: string): Asked[] {
  try {
    const kept = JSON.parse(text ?? 'null') as { user?: unknown; asked?: unknown } | null;
    return kept?.user === user && Array.isArray(kept.asked) ? kept.asked.filter(isAsked) : [];
  } catch {
    return [];
  }
}

export function note(user: string, asked: readonly Asked[]): string {
  const plain = ({ command, kind, camera, from_ms, to_ms, event }: Asked): Asked => ({ command, kind, camera, from_ms, to_ms, event });
  return JSON.stringify({ user, asked: asked.map(plain) });
}

function isAsked(value: unknown): value is Asked {
  const a = value as Partial<Asked> | null;
  return (
    typeof a === 'object' && a !== null && typeof a.command === 'string' && typeof a.camera === 'string' && (a.kind === 'clip' || a.kind === 'hold') &&
    typeof a.from_ms === 'number' && typeof a.to_ms === 'number' && (a.event === null || typeof a.event === 'string')
  );
}

const overlap = (a: Span, b: Span) => Math.min(a.to_ms, b.to_ms) - Math.max(a.from_ms, b.from_ms);

/**
 * What plays in step with a clip: of each other camera the one that was asked for the same range, else the one that has
 * most of the same time.
 */
export function inStep(all: readonly Standing[], one: Standing, most: number): Standing[] {
  const clip = clipOf(one);
  if (!clip) return [];
  const best = new Map<string, { of: Standing; rank: number }>();
  for (const other of all) {
    const theirs = other.camera === one.camera ? null : clipOf(other);
    if (!theirs) continue;
    const same = other.from_ms === one.from_ms && other.to_ms === one.to_ms;
    const rank = same ? Infinity : overlap(clip, theirs);
    if (rank > (best.get(other.camera)?.rank ?? 0)) best.set(other.camera, { of: other, rank });
  }
  return [one, ...[...best.values()].map((b) => b.of)].slice(0, most);
}

/** Soon at first, for somebody waits; a node that is away may take hours. */
export const pollEvery = (since_ms: number, now_ms: number): number => (now_ms - since_ms < 120_000 ? 2_000 : 10_000);
