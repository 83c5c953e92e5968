// A list that comes in pages, read on to its end, but no further than so many: what is left out has to be said.

import type { Page } from './types';

export async function pages<T>(most: number, ask: (after: string | null) => Promise<Page<T>>): Promise<{ items: T[]; cut: boolean }> {
  const items: T[] = [];
  let after: string | null = null;
  for (let i = 0; i < most; i += 1) {
    const page: Page<T> = await ask(after);
    items.push(...page.items);
    after = page.next;
    if (after === null) return { items, cut: false };
  }
  return { items, cut: true };
}
