// A wall as views show it: which cameras, how each stands, and where its pictures go.

import { api } from './api';
import { app } from './app.svelte';
import { isStale, show, Wall, type Frame } from './live';

export interface Tile { state: string; reason: string | null; at_ms: number | null; fps: number | null; came_ms: number | null }
const EMPTY: Tile = { state: 'waiting', reason: null, at_ms: null, fps: null, came_ms: null };

export class WallView {
  tiles = $state<Record<string, Tile>>({});
  open = $state(true);
  #wall: Wall | null = null;
  #images = new Map<string, HTMLImageElement>();

  /** What was seen of a camera before stays in its place until a newer picture comes. */
  watch(cameras: string[], fps: number): void {
    this.stop();
    const before = this.tiles;
    this.tiles = Object.fromEntries(cameras.map((c) => [c, { ...(before[c] ?? EMPTY) }]));
    if (cameras.length === 0) return;
    this.#wall = new Wall(api.wallUrl(cameras, fps), {
      frame: (header, picture) => this.#frame(header, picture),
      told: ({ camera, state, reason }) => {
        const tile = this.tiles[camera];
        if (tile) Object.assign(tile, { state, reason: reason ?? null });
      },
      line: (open) => {
        this.open = open;
        // One camera that may not be watched any more ends them all, and a browser is not told why: the list says which.
        if (!open) app.recheck();
      },
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

  /** Its picture is not of now. */
  stale(camera: string): boolean {
    const tile = this.tile(camera);
    return tile.came_ms !== null && (!this.open || isStale(tile.came_ms, tile.fps, app.now));
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
    Object.assign(tile, { state: 'ok', reason: null, at_ms: header.at_ms, fps: header.fps, came_ms: app.now });
  }
}
