// How a camera stands, for a colour and a shape: never by colour alone.

import type { Camera, NodeState } from './types';

export type Health = 'ok' | 'wait' | 'bad' | 'away';

export function health(camera: Camera): Health {
  if (!camera.current) return 'away';
  if (camera.state === 'online') return camera.fault ? 'wait' : 'ok';
  return camera.state === 'connecting' || camera.state === 'restarting' ? 'wait' : 'bad';
}

/** The state in the catalogue's words: what a node said before it left is not the state any more. */
export const stateName = (camera: Camera) => (camera.current ? camera.state : 'away');

/**
 * Since when it stands as it does, by what is true: of a camera whose node is away, since the node is. Null: nobody knows,
 * as of one whose node has come back and has not said anything of it yet.
 */
export function sinceOf(camera: Camera, nodes: readonly NodeState[]): { of: 'camera' | 'node'; ms: number } | null {
  if (camera.current) return camera.since_ms === null ? null : { of: 'camera', ms: camera.since_ms };
  const node = nodes.find((n) => n.node === camera.node);
  return node && node.state !== 'online' && node.since_ms !== null ? { of: 'node', ms: node.since_ms } : null;
}

/** A path on a field of 24 by 24. */
export const SHAPES: Record<Health, string> = {
  ok: 'M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16z',
  wait: 'M5 5h14v14H5z',
  bad: 'M12 3l10 18H2z',
  away: 'M4 7l3-3 5 5 5-5 3 3-5 5 5 5-3 3-5-5-5 5-3-3 5-5z',
};

/** Metres between two places; near enough within a ward. */
export function metres(a: readonly [number, number], b: readonly [number, number]): number {
  const rad = Math.PI / 180;
  const x = (b[1] - a[1]) * rad * Math.cos(((a[0] + b[0]) / 2) * rad);
  const y = (b[0] - a[0]) * rad;
  return Math.hypot(x, y) * 6_371_000;
}

/** A round step for a grid: 1, 2 or 5 times a power of ten, at least so large. */
export function gridStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least) ?? 10 * power;
}
