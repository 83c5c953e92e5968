import { describe, expect, test } from 'vitest';
import { inStep, isOver, note, pollEvery, recall, type Asked, type Standing } from '../../src/lib/asked';
import type { Command } from '../../src/lib/types';

const asked = (change: Partial<Asked> = {}): Asked => ({ command: 'c1', kind: 'clip', camera: 'n/a', from_ms: 0, to_ms: 60_000, event: null, ...change });

function standing(change: Partial<Asked> = {}, state: Partial<Command> | null = null): Standing {
  return { ...asked(change), state: state && ({ state: 'done', clip: null, ...state } as Command), trouble: '', closed: false };
}
const clip = (from_ms: number, to_ms: number) => ({ sha256: 'x', bytes: 1, from_ms, to_ms, masked: false, complete: true });
const delivered = (command: string, camera: string, from_ms: number, to_ms: number, span = { from_ms: 0, to_ms: 60_000 }) =>
  standing({ command, camera, ...span }, { clip: clip(from_ms, to_ms) });

describe('what was asked', () => {
  test('is found again by whoever asked it, and by nobody else', () => {
    const all = [asked(), asked({ command: 'c2', kind: 'hold', event: 'n/e' })];
    const shown: Standing = { ...standing(), trouble: 'not kept' };
    const text = note('lan', [shown, all[1]!]);
    expect(recall(text, 'lan')).toEqual(all);
    expect(text).not.toMatch(/not kept|state/);
    expect(recall(text, 'hoa')).toEqual([]);
  });

  test('what is no such note is none', () => {
    for (const text of [null, '', 'no json', '7', '{"user":"lan"}', '{"user":"lan","asked":[7,{"command":1}]}']) expect(recall(text, 'lan'), String(text)).toEqual([]);
  });

  test('is over when its clip is here, and not when the node is done', () => {
    expect(isOver(standing())).toBe(false);
    expect(isOver(standing({}, { state: 'pending' }))).toBe(false);
    expect(isOver(standing({}, { state: 'done' }))).toBe(false);
    expect(isOver(standing({}, { clip: clip(0, 1) }))).toBe(true);
    expect(isOver(standing({ kind: 'hold' }, { state: 'done' }))).toBe(true);
    for (const state of ['failed', 'refused', 'expired'] as const) expect(isOver(standing({}, { state })), state).toBe(true);
    expect(isOver({ ...standing(), closed: true })).toBe(true);
  });

  test('is asked after often at first, then seldom', () => {
    expect(pollEvery(0, 1_000)).toBe(2_000);
    expect(pollEvery(0, 3_600_000)).toBe(10_000);
  });
});

describe('what plays in step', () => {
  const one = delivered('c1', 'n/a', 1_000, 50_000);
  test('is one clip of each other camera, that of the same range first', () => {
    const far = delivered('c2', 'n/b', 0, 60_000, { from_ms: 5, to_ms: 60_000 });
    const same = delivered('c3', 'n/b', 40_000, 55_000);
    expect(inStep([far, one, same], one, 6).map((s) => s.command)).toEqual(['c1', 'c3']);
  });

  test('else that which has most of the same time; none of another time, of the same camera, or not delivered', () => {
    const all = [
      one, delivered('c2', 'n/b', 45_000, 90_000, { from_ms: 45_000, to_ms: 90_000 }), delivered('c3', 'n/b', 20_000, 90_000, { from_ms: 20_000, to_ms: 90_000 }),
      delivered('c4', 'n/c', 50_000, 90_000, { from_ms: 50_000, to_ms: 90_000 }), delivered('c5', 'n/a', 0, 60_000), standing({ command: 'c6', camera: 'n/d' }),
    ];
    expect(inStep(all, one, 6).map((s) => s.command)).toEqual(['c1', 'c3']);
    expect(inStep(all, standing(), 6)).toEqual([]);
  });

  test('is no more than fits beside each other', () => {
    const all = ['b', 'c', 'd'].map((id) => delivered(id, `n/${id}`, 0, 60_000));
    expect(inStep([one, ...all], one, 3)).toHaveLength(3);
  });
});
