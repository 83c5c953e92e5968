// A still with time and hash: what is saved can be told from what was altered later.

import { stamp } from './format';
import { sha256 } from './sha256';

export interface Still { name: string; hash: string }

export function stillName(camera: string, ms: number, zone: string, hash: string, ending = 'jpg'): string {
  const plain = camera.normalize('NFD').replace(/[\u0300-\u036f]/g, '').replace(/[đĐ]/g, 'd');
  const safe = plain.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'camera';
  return `${safe}_${stamp(ms, zone)}_${hash.slice(0, 12)}.${ending}`;
}

export async function save(blob: Blob, camera: string, ms: number, zone: string): Promise<Still> {
  const hash = sha256(new Uint8Array(await blob.arrayBuffer()));
  const name = stillName(camera, ms, zone, hash);
  const address = URL.createObjectURL(blob);
  const a = document.createElement('a');
  a.href = address;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return { name, hash };
}

export function videoStill(video: HTMLVideoElement): Promise<Blob | null> {
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d')?.drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.92));
}
