// What may be done with an event next, and in which steps. The server decides in the end;
// this keeps a person from asking for what cannot be, and from taking a colleague's event unawares.

import type { Triage, Verdict } from './types';

export type TriageAction = 'own' | 'release' | 'dispatch' | 'resolve' | 'reopen';
export type Choice = 'own' | 'release' | 'dispatch' | 'true_alarm' | 'false_alarm' | 'reopen';

export interface Step { action: TriageAction; verdict?: Verdict }

/** The steps that lead to what was chosen, or none when it cannot be chosen now. */
export function steps(triage: Triage, choice: Choice): Step[] {
  const take: Step[] = triage.state === 'new' ? [{ action: 'own' }] : [];
  switch (choice) {
    case 'own':
      return take;
    case 'release':
      return triage.state === 'owned' ? [{ action: 'release' }] : [];
    case 'dispatch':
      return triage.state === 'new' || triage.state === 'owned' ? [...take, { action: 'dispatch' }] : [];
    case 'true_alarm':
    case 'false_alarm':
      return triage.state === 'resolved' ? [] : [...take, { action: 'resolve', verdict: choice }];
    case 'reopen':
      return triage.state === 'resolved' ? [{ action: 'reopen' }] : [];
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
