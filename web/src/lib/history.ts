// Undo and redo of whole values. Changes with the same tag that follow each other (a drag, a word being typed) are one
// step.

const MOST = 200;

export interface Steps<T> { past: readonly T[]; now: T; future: readonly T[]; tag: string | null }

export const begin = <T>(now: T): Steps<T> => ({ past: [], now, future: [], tag: null });

export function change<T>(steps: Steps<T>, now: T, tag: string | null = null): Steps<T> {
  if (tag !== null && tag === steps.tag && steps.past.length > 0) return { ...steps, now, future: [] };
  return { past: [...steps.past, steps.now].slice(-MOST), now, future: [], tag };
}

/** What comes now is a step of its own, whatever its tag. */
export const settle = <T>(steps: Steps<T>): Steps<T> => ({ ...steps, tag: null });

export function undo<T>(steps: Steps<T>): Steps<T> {
  if (steps.past.length === 0) return steps;
  return { past: steps.past.slice(0, -1), now: steps.past.at(-1)!, future: [steps.now, ...steps.future], tag: null };
}

export function redo<T>(steps: Steps<T>): Steps<T> {
  const [next, ...future] = steps.future;
  return next === undefined ? steps : { past: [...steps.past, steps.now], now: next, future, tag: null };
}
