// What may be done with an event next. The server decides in the end (src/centre/triage.rs); this keeps a person from
// asking for what cannot be, and from taking a colleague's event unawares.

import type { Me, Triage, Verdict } from './types';

export type TriageAction = 'own' | 'release' | 'dispatch' | 'resolve' | 'reopen';
export type Choice = 'own' | 'release' | 'dispatch' | 'true_alarm' | 'false_alarm' | 'reopen';

export interface Act { action: TriageAction; verdict?: Verdict }

export interface Officer { id: string; commander: boolean }

export const officer = (me: Me | null): Officer => ({ id: me?.user.id ?? '', commander: me?.user.role === 'commander' });

/** The act that was chosen, or null when it cannot be done now. Sending somebody and a verdict take what nobody has, too. */
export function actOf(triage: Triage, choice: Choice, me: Officer): Act | null {
  const { state, owner } = triage;
  if (state === 'resolved') return choice === 'reopen' ? { action: 'reopen' } : null;
  const mine = owner?.id === me.id;
  // Only its owner and a commander move what somebody has.
  if (owner !== null && !mine && !me.commander) return null;
  switch (choice) {
    case 'own':
      return mine ? null : { action: 'own' };
    case 'release':
      return owner === null ? null : { action: 'release' };
    case 'dispatch':
      return state === 'dispatched' ? null : { action: 'dispatch' };
    case 'true_alarm':
    case 'false_alarm':
      return { action: 'resolve', verdict: choice };
    case 'reopen':
      return null;
  }
}

/** The colleague who has it, when it is not me: ask before acting on it. */
export function othersOwner(triage: Triage, me: string): string | null {
  return triage.state !== 'new' && triage.state !== 'resolved' && triage.owner && triage.owner.id !== me
    ? triage.owner.display_name
    : null;
}

export function unresolved(triage: Triage): boolean {
  return triage.state !== 'resolved';
}
