import { describe, expect, test } from 'vitest';
import { AGAIN_MS, gapAt, Peek, REST_MS, spot, type Look, type Shown } from '../../src/lib/peek';

const recordings = {
  segments: [{ from_ms: 25_000, to_ms: 60_000 }, { from_ms: 90_000, to_ms: 120_000 }],
  gaps: [{ from_ms: 60_000, to_ms: 90_000, reason: 'paused' }],
};

test('a moment is asked for on the grid, within what was recorded', () => {
  expect(spot(47_900, recordings)).toBe(40_000);
  expect(spot(28_000, recordings)).toBe(25_000);
  expect(spot(60_000, recordings)).toBeNull();
  expect(spot(10, recordings)).toBeNull();
  expect(gapAt(60_000, recordings)).toBe('paused');
  // Beside it, as near as a finger is: the end of the one before, the beginning of the one after.
  expect(spot(60_000, recordings, 5_000)).toBe(50_000);
  expect(spot(88_000, recordings, 5_000)).toBe(90_000);
  expect(spot(75_000, recordings, 5_000)).toBeNull();
  expect(spot(1, { segments: [], gaps: [] }, 5_000)).toBeNull();
  expect(gapAt(10, recordings)).toBeNull();
});

/** A clock that stands until it is told, and a centre that answers when it is told. */
function made() {
  let now = 0;
  let timers: { at: number; run: () => void }[] = [];
  const asked: { spot: number; answer: (s: Shown) => void; refuse: (e: unknown) => void }[] = [];
  const looks: Look[] = [];
  const dropped: string[] = [];
  const peek = new Peek({
    ask: (at) => new Promise((answer, refuse) => asked.push({ spot: at, answer, refuse })),
    final: (error) => error === 'forbidden',
    show: (look) => looks.push(look),
    drop: (picture) => dropped.push(picture),
    after: (ms, run) => {
      const timer = { at: now + ms, run };
      timers.push(timer);
      return () => { timers = timers.filter((t) => t !== timer); };
    },
  });
  const pass = (ms: number) => {
    now += ms;
    const due = timers.filter((t) => t.at <= now);
    timers = timers.filter((t) => t.at > now);
    for (const t of due) t.run();
  };
  const settled = () => new Promise((done) => setTimeout(done));
  return { peek, asked, looks, dropped, pass, settled, last: () => looks.at(-1) };
}

describe('pictures under a pointer', () => {
  test('a pointer that runs over the day asks for where it rests only', () => {
    const { peek, asked, pass } = made();
    for (let at = 0; at < 500_000; at += 10_000) { peek.want(at); pass(5); }
    pass(REST_MS);
    expect(asked.map((a) => a.spot)).toEqual([490_000]);
  });

  test('one request is under way; the latest wish comes next, and those between never', async () => {
    const { peek, asked, pass, settled, last } = made();
    peek.want(10_000);
    pass(REST_MS);
    for (const at of [20_000, 30_000, 40_000]) { peek.want(at); pass(REST_MS); }
    expect(asked.map((a) => a.spot)).toEqual([10_000]);
    asked[0]!.answer({ picture: 'a', at_ms: 9_000 });
    await settled();
    expect(last()).toEqual({ kind: 'waiting' });
    pass(0);
    expect(asked.map((a) => a.spot)).toEqual([10_000, 40_000]);
    asked[1]!.answer({ picture: 'b', at_ms: null });
    await settled();
    expect(last()).toEqual({ kind: 'picture', picture: 'b', at_ms: null });
  });

  test('what was seen is not asked for again, and is let go of at the end', async () => {
    const { peek, asked, pass, settled, last, dropped } = made();
    peek.want(10_000);
    pass(REST_MS);
    asked[0]!.answer({ picture: 'a', at_ms: 9_000 });
    await settled();
    peek.want(null);
    expect(last()).toEqual({ kind: 'none' });
    peek.want(10_000);
    pass(REST_MS);
    expect(last()).toEqual({ kind: 'picture', picture: 'a', at_ms: 9_000 });
    expect(asked.length).toBe(1);
    peek.stop();
    expect(dropped).toEqual(['a']);
  });

  test('a refusal is said and ends the asking; a node that is away is asked again', async () => {
    const { peek, asked, pass, settled, last } = made();
    peek.want(10_000);
    pass(REST_MS);
    asked[0]!.refuse('away');
    await settled();
    expect(last()).toEqual({ kind: 'failed', error: 'away' });
    pass(AGAIN_MS);
    expect(asked.length).toBe(2);
    asked[1]!.refuse('forbidden');
    await settled();
    peek.want(20_000);
    pass(AGAIN_MS);
    expect(last()).toEqual({ kind: 'failed', error: 'forbidden' });
    expect(asked.length).toBe(2);
  });
});
