// New cameras on their way into a node's document: checked first, then put, whatever else changed there meanwhile.

import { api } from './api';
import { outgoing, type CamerasDocument, type CameraTable } from './draft';
import { codeOf, rejectionOf, widenedOf, type Rejection, type Widening } from './edit.svelte';

export type Added = 'added' | 'consent' | 'rejected' | 'taken' | 'failed';

export class Adder {
  document = $state.raw<CamerasDocument | null>(null);
  trouble = $state.raw<unknown>(null);
  busy = $state(false);
  rejection = $state.raw<Rejection | null>(null);
  widened = $state.raw<Widening[]>([]);
  failure = $state.raw<unknown>(null);
  /** An id that somebody else took since. */
  taken = $state('');

  constructor(readonly node: string) {}

  async load(): Promise<void> {
    this.trouble = null;
    try {
      this.document = await api.document(this.node);
    } catch (error) {
      this.trouble = error;
    }
  }

  get ids(): string[] {
    return this.document?.cameras.map((c) => c.id) ?? [];
  }

  async add(cameras: CameraTable[], reason?: string): Promise<Added> {
    if (this.document === null || this.busy) return 'failed';
    this.busy = true;
    this.rejection = null;
    this.failure = null;
    this.taken = '';
    try {
      return await this.#put(cameras, reason, true);
    } finally {
      this.busy = false;
    }
  }

  async #put(cameras: CameraTable[], reason: string | undefined, again: boolean): Promise<Added> {
    const document = this.document!;
    // A put of an id that is there would replace that camera.
    const taken = cameras.find((c) => document.cameras.some((d) => d.id === c.id));
    if (taken) {
      this.taken = taken.id;
      return 'taken';
    }
    const body = { edits: cameras.map((camera) => ({ edit: 'put' as const, camera: outgoing(camera) })), ...(reason ? { reason } : {}) };
    try {
      await api.changeDocument(this.node, document.revision, { ...body, check: true });
      await api.changeDocument(this.node, document.revision, body);
      await this.load();
      return 'added';
    } catch (error) {
      const code = codeOf(error);
      if (code === 'document-rejected') {
        this.rejection = rejectionOf(error);
        return 'rejected';
      }
      if (code === 'consent-needed') {
        this.widened = widenedOf(error);
        return 'consent';
      }
      if (code === 'conflict' && again) {
        // Somebody changed something else: new cameras stand in nobody's way.
        await this.load();
        return this.#put(cameras, reason, false);
      }
      this.failure = error;
      return 'failed';
    }
  }
}
