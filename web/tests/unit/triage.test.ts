import { describe, expect, test } from 'vitest';
import { KEYS, keyCommand } from '../../src/lib/keys';
import { actOf, othersOwner, type Choice, type Officer } from '../../src/lib/triage';
import type { Triage, TriageState } from '../../src/lib/types';

const triage = (state: TriageState, owner: string | null = null): Triage => ({
  state, verdict: null, owner: owner ? { id: owner, display_name: owner.toUpperCase() } : null, version: 1,
  updated_ms: null, escalated: false, snoozed: false, incident: null,
});
const ME: Officer = { id: 'an', commander: false };
const CHIEF: Officer = { id: 'hoa', commander: true };
const CHOICES: Choice[] = ['own', 'release', 'dispatch', 'true_alarm', 'false_alarm', 'reopen'];
const offered = (state: TriageState, owner: string | null, me: Officer) => CHOICES.filter((c) => actOf(triage(state, owner), c, me) !== null).join(' ');

describe('the triage guard', () => {
  test('leads from each state only where the centre lets one go', () => {
    const table: [TriageState, string | null, Officer, string][] = [
      ['new', null, ME, 'own dispatch true_alarm false_alarm'],
      ['owned', 'an', ME, 'release dispatch true_alarm false_alarm'],
      ['dispatched', 'an', ME, 'release true_alarm false_alarm'],
      // The last shift gave it back, and its patrol is still out.
      ['dispatched', null, ME, 'own true_alarm false_alarm'],
      ['resolved', 'an', ME, 'reopen'],
      ['resolved', 'binh', ME, 'reopen'],
      // A colleague's: for a commander only.
      ['owned', 'binh', ME, ''],
      ['dispatched', 'binh', ME, ''],
      ['owned', 'binh', CHIEF, 'own release dispatch true_alarm false_alarm'],
      ['dispatched', 'binh', CHIEF, 'own release true_alarm false_alarm'],
      ['owned', 'hoa', CHIEF, 'release dispatch true_alarm false_alarm'],
      ['new', null, CHIEF, 'own dispatch true_alarm false_alarm'],
    ];
    for (const [state, owner, me, want] of table) expect(offered(state, owner, me), `${state} of ${owner} for ${me.id}`).toBe(want);
  });

  test('each choice is one act, and resolving says which verdict', () => {
    expect(actOf(triage('new'), 'dispatch', ME)).toEqual({ action: 'dispatch' });
    expect(actOf(triage('owned', 'binh'), 'own', CHIEF)).toEqual({ action: 'own' });
    expect(actOf(triage('owned', 'an'), 'false_alarm', ME)).toEqual({ action: 'resolve', verdict: 'false_alarm' });
    expect(actOf(triage('new'), 'true_alarm', ME)).toEqual({ action: 'resolve', verdict: 'true_alarm' });
  });

  test('names the colleague who has it, and nobody when it is mine or free', () => {
    expect(othersOwner(triage('owned', 'an'), 'binh')).toBe('AN');
    expect(othersOwner(triage('dispatched', 'an'), 'binh')).toBe('AN');
    expect(othersOwner(triage('owned', 'an'), 'an')).toBeNull();
    expect(othersOwner(triage('new', 'an'), 'binh')).toBeNull();
    expect(othersOwner(triage('resolved', 'an'), 'binh')).toBeNull();
  });
});

describe('the keyboard', () => {
  const press = (key: string, target: object = {}, mods: object = {}) =>
    keyCommand({ key, ctrlKey: false, metaKey: false, altKey: false, target, ...mods });

  test('knows every key once', () => {
    expect(new Set(KEYS.map(([key]) => key)).size).toBe(KEYS.length);
    expect(new Set(KEYS.map(([, command]) => command)).size).toBe(KEYS.length);
    for (const [key, command] of KEYS) expect(press(key)).toBe(command);
  });

  test('caps lock changes nothing', () => {
    expect(press('O')).toBe('own');
  });

  test('leaves fields, buttons and the browser alone', () => {
    for (const target of [{ tagName: 'TEXTAREA' }, { tagName: 'INPUT', type: 'text' }, { tagName: 'INPUT', type: 'password' }, { tagName: 'SELECT' }, { isContentEditable: true }]) {
      for (const key of ['o', 'd', 'r', 'f', '?', ' ', 'Enter']) expect(press(key, target), key).toBeNull();
      expect(press('Escape', target)).toBe('back');
    }
    expect(press('Enter', { tagName: 'BUTTON' })).toBeNull();
    expect(press(' ', { tagName: 'A' })).toBeNull();
    expect(press('o', { tagName: 'BUTTON' })).toBe('own');
    expect(press('r', {}, { ctrlKey: true })).toBeNull();
    expect(press('f', {}, { metaKey: true })).toBeNull();
    expect(press('d', {}, { isComposing: true })).toBeNull();
  });
});
