// Of which range a clip may be asked, as far as it can be told before: the centre and the node decide. A duty officer asks
// about one event; and most owners share no more than what is about events, whoever asks.

import type { Span } from './timeline';
import type { Camera, EventSummary } from './types';

/** So much before and after an event is about it. */
const ABOUT_MS = 60_000;
/** Events that began longer before are not looked at. */
const LONG_MS = 3_600_000;

export type Limit = 'role' | 'owner' | null;
type Terms = Pick<Camera, 'sharing' | 'may'>;

/** What binds a person to events: his role, the owner's terms, or nothing. */
export function limitOf(camera: Terms | undefined, kind: 'clip' | 'hold' = 'clip'): Limit {
  if (!camera) return null;
  if (!camera.may.clip) return 'role';
  return kind === 'clip' && (camera.sharing === 'events_only' || camera.sharing === 'scheduled_live') ? 'owner' : null;
}

const about = (e: EventSummary): Span => ({ from_ms: e.started_ms - ABOUT_MS, to_ms: (e.ended_ms ?? e.updated_ms) + ABOUT_MS });

/** What stands against asking for a range; `events` are the camera's, null: not all of them are known, the centre will say. */
export function against(camera: Terms | undefined, range: Span, events: readonly EventSummary[] | null): Limit {
  const limit = limitOf(camera);
  if (limit === null || events === null) return null;
  const spans = events.map(about).sort((a, b) => a.from_ms - b.from_ms);
  if (limit === 'role') {
    const one = spans.some((s) => range.from_ms >= s.from_ms && range.to_ms <= s.to_ms && s.from_ms >= range.from_ms - ABOUT_MS - LONG_MS);
    return one ? null : 'role';
  }
  // What several events cover together is about them.
  let reached = range.from_ms;
  for (const s of spans) {
    if (s.from_ms > reached) break;
    reached = Math.max(reached, s.to_ms);
  }
  return reached >= range.to_ms ? null : 'owner';
}
