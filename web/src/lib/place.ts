// What the address holds: a filter, so that it can be kept, shared and gone back to; and the way one came.

import type { Filter } from './feed';
import type { Severity, TriageState } from './types';

export function filterOf(query: URLSearchParams): Filter {
  const number = (name: string) => {
    const text = query.get(name);
    return text !== null && /^\d+$/.test(text) ? Number(text) : null;
  };
  const severity = query.get('severity');
  return {
    severity: severity === 'alert' || severity === 'notice' ? (severity as Severity) : null,
    states: query.getAll('state') as TriageState[],
    cameras: query.getAll('camera'),
    areas: query.getAll('area'),
    kinds: query.getAll('kind'),
    text: query.get('text') ?? '',
    from_ms: number('from_ms'),
    to_ms: number('to_ms'),
    within_ms: number('within_ms'),
  };
}

const STEPS = 50;

/** The way through the page so far, once one is at `to`; a step back takes one away. */
export function walked(way: readonly string[], to: string): readonly string[] {
  return way.at(-2) === to ? way.slice(0, -1) : [...way, to].slice(-STEPS);
}
