import { describe, expect, test } from 'vitest';
import { Line, LOST_MS, SILENT_MS, type LineState, type SourceLike } from '../../src/lib/stream';

class Source implements SourceLike {
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  handlers = new Map<string, (event: { data: string }) => void>();
  addEventListener(name: string, handler: (event: { data: string }) => void) { this.handlers.set(name, handler); }
  close() { this.closed = true; }
  say(name: string, data: unknown) { this.handlers.get(name)!({ data: typeof data === 'string' ? data : JSON.stringify(data) }); }
  open() { this.readyState = 1; this.onopen!(); }
  breaks(closed: boolean) { this.readyState = closed ? 2 : 0; this.onerror!(); }
}

function world() {
  let now = 0;
  let timers: { at: number; run: () => void }[] = [];
  const sources: Source[] = [];
  const told: { states: LineState[]; hellos: boolean[]; messages: [string, unknown][]; refused: number } =
    { states: [], hellos: [], messages: [], refused: 0 };
  const line = new Line({
    open: () => { const s = new Source(); sources.push(s); return s; },
    now: () => now,
    after: (ms, run) => {
      const timer = { at: now + ms, run };
      timers.push(timer);
      return () => { timers = timers.filter((t) => t !== timer); };
    },
    random: () => 0.5,
  }, {
    state: (s) => told.states.push(s),
    hello: (h) => told.hellos.push(h.resumed),
    message: (name, data) => told.messages.push([name, data]),
    refused: () => { told.refused += 1; },
  });
  const pass = (ms: number) => {
    const end = now + ms;
    for (;;) {
      const due = timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      now = due.at;
      timers = timers.filter((t) => t !== due);
      due.run();
    }
    now = end;
  };
  return { line, sources, told, pass, last: () => sources.at(-1)! };
}

describe('the line', () => {
  test('tells what comes, and nothing that cannot be read', () => {
    const w = world();
    w.line.start();
    w.last().open();
    w.last().say('hello', { now_ms: 1, boot: 'b', resumed: false });
    w.last().say('event', { id: 'a' });
    w.last().say('event', 'no json');
    w.last().say('ping', { now_ms: 2 });
    expect(w.told).toMatchObject({ states: ['open'], hellos: [false], messages: [['event', { id: 'a' }]] });
  });

  test('says that it is lost after five seconds, and not before', () => {
    const w = world();
    w.line.start();
    w.last().open();
    w.last().breaks(false);
    expect(w.told.states).toEqual(['open', 'broken']);
    w.pass(LOST_MS - 1);
    expect(w.told.states.at(-1)).toBe('broken');
    w.pass(1);
    expect(w.told.states.at(-1)).toBe('lost');
    w.last().open();
    expect(w.told.states.at(-1)).toBe('open');
  });

  test('leaves it to the browser to come back, so that it resumes; comes back itself when that gave up, ever slower', () => {
    const w = world();
    w.line.start();
    w.last().open();
    w.last().breaks(false);
    w.pass(4_000);
    expect(w.sources.length).toBe(1);
    w.last().breaks(true);
    expect(w.told.refused).toBe(1);
    w.pass(1_000);
    expect(w.sources.length).toBe(2);
    w.last().breaks(true);
    w.pass(1_999);
    expect(w.sources.length).toBe(2);
    w.pass(1);
    expect(w.sources.length).toBe(3);
    for (let i = 0; i < 5; i += 1) { w.last().breaks(true); w.pass(15_000); }
    expect(w.sources.length).toBe(8);
  });

  test('a line that says nothing for long is dead, though nobody closed it', () => {
    const w = world();
    w.line.start();
    w.last().open();
    w.pass(SILENT_MS - 1);
    w.last().say('ping', {});
    w.pass(SILENT_MS - 1);
    expect(w.sources.length).toBe(1);
    w.pass(1_001);
    expect(w.sources[0]!.closed).toBe(true);
    expect(w.sources.length).toBe(2);
    expect(w.told.states).toEqual(['open', 'broken']);
  });

  test('the network is back: at once', () => {
    const w = world();
    w.line.start();
    w.last().breaks(true);
    w.line.retry();
    expect(w.sources.length).toBe(2);
    w.last().open();
    w.line.retry();
    expect(w.sources.length).toBe(2);
  });

  test('what a line says that was left behind counts no more, and a stopped one opens none', () => {
    const w = world();
    w.line.start();
    const first = w.last();
    w.line.retry();
    first.say('event', { id: 'old' });
    expect(w.told.messages).toEqual([]);
    w.line.stop();
    w.last().breaks(true);
    w.pass(60_000);
    expect(w.sources.length).toBe(2);
  });
});
