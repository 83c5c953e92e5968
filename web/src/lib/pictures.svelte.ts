// The last picture of each camera: that of its newest event which has one, among the newest of the ward. One list, and what
// the line brings; a camera that was quiet for long has none.

import { api } from './api';
import { app } from './app.svelte';
import { latest, type Pictures } from './pictures';

const LOOKED_AT = 200;

export class LastPictures {
  of = $state.raw<Pictures>(new Map());

  /** Until the function that it gives is called. */
  start(): () => void {
    if (!app.can('search') || !app.can('snapshot.view')) return () => {};
    const load = () => api.events({ limit: LOOKED_AT }).then((page) => { this.of = latest(this.of, page.items); }, () => {});
    void load();
    const stops = [app.on('events', (came) => { this.of = latest(this.of, came); }), app.on('reload', () => void load())];
    return () => { for (const stop of stops) stop(); };
  }
}
