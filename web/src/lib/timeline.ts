// Places on a stretch of time, as shares of it.

export interface Span { from_ms: number; to_ms: number }

export const percentOf = (ms: number, window: Span): number =>
  Math.min(100, Math.max(0, ((ms - window.from_ms) / (window.to_ms - window.from_ms)) * 100));

/** Left and width in percent; null when it lies outside. */
export function bar(span: Span, window: Span): { left: number; width: number } | null {
  if (span.to_ms <= window.from_ms || span.from_ms >= window.to_ms) return null;
  const left = percentOf(span.from_ms, window);
  return { left, width: Math.max(0.1, percentOf(span.to_ms, window) - left) };
}

/** The moment under a pointer, to whole seconds. */
export function momentAt(x: number, width: number, window: Span): number {
  const share = Math.min(1, Math.max(0, width > 0 ? x / width : 0));
  return Math.round((window.from_ms + share * (window.to_ms - window.from_ms)) / 1000) * 1000;
}

/** Two ends in whatever order, at most so long, kept within the window; the first end stays. */
export function selection(first: number, second: number, longest: number): Span {
  const far = Math.abs(second - first) > longest ? first + Math.sign(second - first) * longest : second;
  return { from_ms: Math.min(first, far), to_ms: Math.max(first, far) };
}

/** Spans in order, with those as one between which nobody could see a gap: a day has thousands. */
export function joined(spans: readonly Span[], unseen_ms: number): Span[] {
  const out: Span[] = [];
  for (const { from_ms, to_ms } of spans) {
    const last = out.at(-1);
    if (last && from_ms - last.to_ms <= unseen_ms) last.to_ms = Math.max(last.to_ms, to_ms);
    else out.push({ from_ms, to_ms });
  }
  return out;
}
