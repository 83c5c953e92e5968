import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { begin, change, redo, settle, undo } from '../../src/lib/history';
import { Newest } from '../../src/lib/newest';

describe('undo and redo', () => {
  test('go back and forth, and a change after going back forgets what was ahead', () => {
    let s = change(change(begin('a'), 'b'), 'c');
    s = undo(s);
    expect(s.now).toBe('b');
    expect(redo(s).now).toBe('c');
    s = change(s, 'd');
    expect(redo(s).now).toBe('d');
    expect(undo(undo(s)).now).toBe('a');
    expect(undo(undo(undo(s))).now).toBe('a');
  });

  test('a drag is one step, and the next one another', () => {
    let s = begin(0);
    for (const n of [1, 2, 3]) s = change(s, n, 'drag 1');
    for (const n of [4, 5]) s = change(s, n, 'drag 2');
    expect(undo(s).now).toBe(3);
    expect(undo(undo(s)).now).toBe(0);
  });

  test('the same field left and entered again is two steps', () => {
    let s = change(begin(''), 'x', 'name');
    s = change(settle(s), 'xy', 'name');
    expect(undo(s).now).toBe('x');
  });

  test('what comes after an undo does not melt into what was undone', () => {
    let s = change(begin(0), 1, 'drag');
    s = undo(change(s, 2, 'drag'));
    expect(s.now).toBe(0);
    s = change(s, 3, 'drag');
    expect(undo(s).now).toBe(0);
  });
});

describe('only the newest question', () => {
  beforeEach(() => { vi.useFakeTimers(); });
  afterEach(() => { vi.useRealTimers(); });

  test('is asked, when nothing newer came for a while', async () => {
    const asked: number[] = [];
    const newest = new Newest<number>(400, async (n) => { asked.push(n); });
    newest.ask(1);
    await vi.advanceTimersByTimeAsync(399);
    newest.ask(2);
    await vi.advanceTimersByTimeAsync(399);
    expect(asked).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked).toEqual([2]);
  });

  test('and one under way is called off by the next', async () => {
    const signals: AbortSignal[] = [];
    const newest = new Newest<number>(400, (_, signal) => {
      signals.push(signal);
      return new Promise(() => {});
    });
    newest.ask(1);
    await vi.advanceTimersByTimeAsync(400);
    expect(signals[0]!.aborted).toBe(false);
    newest.ask(2);
    expect(signals[0]!.aborted).toBe(true);
    await vi.advanceTimersByTimeAsync(400);
    expect(signals[1]!.aborted).toBe(false);
    newest.stop();
    expect(signals[1]!.aborted).toBe(true);
  });
});
