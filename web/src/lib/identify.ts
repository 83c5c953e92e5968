// Names as the cameras document wants them: 1 to 64 of a-z, 0-9 and -.

import { fold } from './format';

export const NAME = /^[a-z0-9-]{1,64}$/;

/** "Đầu ngõ 12" → "dau-ngo-12"; never one of those taken. */
export function suggestName(text: string, taken: readonly string[], empty = 'camera'): string {
  const plain = fold(text).replace(/[^a-z0-9]+/g, '-').slice(0, 58).replace(/^-+|-+$/g, '') || empty;
  for (let n = 1; ; n += 1) {
    const name = n === 1 ? plain : `${plain}-${n}`;
    if (!taken.includes(name)) return name;
  }
}
