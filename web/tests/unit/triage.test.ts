import { describe, expect, test } from 'vitest';
import { KEYS, keyCommand } from '../../src/lib/keys';
import { othersOwner, steps, type Choice } from '../../src/lib/triage';
import type { Triage, TriageState } from '../../src/lib/types';

const triage = (state: TriageState, owner: string | null = null): Triage => ({
  state, verdict: null, owner: owner ? { id: owner, display_name: owner.toUpperCase() } : null, version: 1,
  updated_ms: null, escalated: false, snoozed: false, incident: null,
});
const plan = (state: TriageState, choice: Choice) => steps(triage(state), choice).map((s) => s.action).join('+');

describe('the triage guard', () => {
  test('leads from each state only where it can go', () => {
    const table: Record<TriageState, Record<Choice, string>> = {
      new: { own: 'own', release: '', dispatch: 'own+dispatch', true_alarm: 'own+resolve', false_alarm: 'own+resolve', reopen: '' },
      owned: { own: '', release: 'release', dispatch: 'dispatch', true_alarm: 'resolve', false_alarm: 'resolve', reopen: '' },
      dispatched: { own: '', release: '', dispatch: '', true_alarm: 'resolve', false_alarm: 'resolve', reopen: '' },
      resolved: { own: '', release: '', dispatch: '', true_alarm: '', false_alarm: '', reopen: 'reopen' },
    };
    for (const [state, row] of Object.entries(table)) {
      for (const [choice, want] of Object.entries(row)) {
        expect(plan(state as TriageState, choice as Choice), `${state} ${choice}`).toBe(want);
      }
    }
  });

  test('resolving says which verdict', () => {
    expect(steps(triage('owned'), 'false_alarm')).toEqual([{ action: 'resolve', verdict: 'false_alarm' }]);
    expect(steps(triage('owned'), 'true_alarm')).toEqual([{ action: 'resolve', verdict: 'true_alarm' }]);
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
