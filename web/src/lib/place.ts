// A filter in the address, so that it can be kept, shared and gone back to.

import { filterQuery, type Filter } from './feed';
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
  };
}

export { filterQuery };
