// Texts filled in as their language writes: its decimal sign, and the word that goes with a number.

export type Params = Record<string, string | number>;

const formats = new Map<string, Intl.NumberFormat>();
const plurals = new Map<string, Intl.PluralRules>();

function kept<T>(map: Map<string, T>, key: string, make: () => T): T {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}

/** "0,2" in Vietnamese, "0.2" in English; with so many decimals, or with those it has. Never grouped: it may be typed back. */
export function number(n: number, lang: string, decimals?: number): string {
  // Most are whole, and a browser takes long to learn how a language writes them.
  if (Number.isSafeInteger(n) && !decimals) return String(n);
  const [least, most] = [decimals ?? 0, decimals ?? 6];
  return kept(formats, `${lang} ${least} ${most}`, () =>
    new Intl.NumberFormat(lang, { useGrouping: false, minimumFractionDigits: least, maximumFractionDigits: most })).format(n);
}

/** What was typed, with a point or a comma; NaN when it is no number. */
export function readNumber(text: string): number {
  const bare = text.trim().replace(',', '.');
  return bare === '' ? NaN : Number(bare);
}

/** "{n} {n|camera|cameras}": the second is the word for one, where the language has one. */
export function fill(text: string, params: Params, lang: string): string {
  return text.replace(/\{(\w+)(?:\|([^{}|]*)\|([^{}|]*))?\}/g, (all, name: string, one?: string, other?: string) => {
    const value = params[name];
    if (value === undefined) return all;
    if (other !== undefined) return kept(plurals, lang, () => new Intl.PluralRules(lang)).select(Number(value)) === 'one' ? one! : other;
    return typeof value === 'number' ? number(value, lang) : value;
  });
}
