// A wall as views show it: which cameras, how each stands, and where its pictures go.

import { api } from './api';
import { show, Wall, type Frame } from './live';

export interface Tile { state: string; reason: string | null; at_ms: number | null; fps: number | null }
const EMPTY: Tile = { state: 'waiting', reason: null, at_ms: null, fps: null };

export class WallView {
  tiles = $state<Record<string, Tile>>({});
  open = $state(true);
  #wall: Wall | null = null;
  #images = new Map<string, HTMLImageElement>();

  watch(cameras: string[], fps: number): void {
    this.stop();
    if (cameras.length === 0) return;
    this.tiles = Object.fromEntries(cameras.map((c) => [c, { ...EMPTY }]));
    this.#wall = new Wall(api.wallUrl(cameras, fps), {
      frame: (header, picture) => this.#frame(header, picture),
      told: ({ camera, state, reason }) => {
        const tile = this.tiles[camera];
        if (tile) Object.assign(tile, { state, reason: reason ?? null });
      },
      line: (open) => { this.open = open; },
    });
  }

  stop(): void {
    this.#wall?.stop();
    this.#wall = null;
    this.open = true;
  }

  tile(camera: string): Tile {
    return this.tiles[camera] ?? EMPTY;
  }

  register(camera: string): (image: HTMLImageElement) => () => void {
    return (image) => {
      this.#images.set(camera, image);
      return () => { if (this.#images.get(camera) === image) this.#images.delete(camera); };
    };
  }

  #frame(header: Frame, picture: Blob): void {
    const key = `${header.node}/${header.camera}`;
    const tile = this.tiles[key];
    const image = this.#images.get(key);
    if (!tile || !image) return;
    show(image, picture);
    Object.assign(tile, { state: 'ok', reason: null, at_ms: header.at_ms, fps: header.fps });
  }
}
