// Cameras that may be given to somebody: those that there are, and those that he has and nobody knows any more, lest they
// are taken from him unseen.

import type { Camera, CameraKey } from './types';

export interface Offered { key: CameraKey; name: string; area: string }

export function reachable(cameras: readonly Camera[], had: readonly CameraKey[]): Offered[] {
  const known = cameras.map((c): Offered => ({ key: [c.node, c.camera], name: c.name, area: c.area }));
  const gone = had.filter(([node, camera]) => !cameras.some((c) => c.node === node && c.camera === camera));
  return [...known, ...gone.map((key): Offered => ({ key, name: key.join('/'), area: '' }))];
}
