// The language in use, and texts in it. Vietnamese is the catalogue; English has the same keys, and comes when it is chosen.

import { vi, type Key } from '../i18n/vi';
import * as format from './format';
import { remember, remembered } from './prefs';
import * as text from './text';
import type { Params } from './text';

export type { Key, Params };
export type Lang = 'vi' | 'en';
type Catalogue = Record<Key, string>;

class Language {
  /** The one that is shown: its words are there. */
  lang = $state<Lang>('vi');
  zone = $state('Asia/Ho_Chi_Minh');
  #words = $state.raw<Catalogue>(vi);
  #wanted: Lang = 'vi';

  get words(): Catalogue {
    return this.#words;
  }

  /** As this browser remembers it. Resolves when it can be shown; what cannot be had leaves the page in Vietnamese. */
  async begin(): Promise<void> {
    if (remembered('lang') === 'en') await this.choose('en').catch(() => {});
  }

  /** Rejects where its words cannot be had: the language stays as it is. */
  async choose(lang: Lang): Promise<void> {
    this.#wanted = lang;
    const words = lang === 'vi' ? vi : (await import('../i18n/en')).en;
    // Somebody chose again meanwhile.
    if (this.#wanted !== lang) return;
    this.#words = words;
    this.lang = lang;
    remember('lang', lang);
  }
}

export const language = new Language();

export function t(key: Key, params: Params = {}): string {
  return text.fill(language.words[key], params, language.lang);
}

/** A text whose key comes from the server; what we have no words for is shown as it is. */
export function named(group: string, name: string): string {
  const key = `${group}.${name}`;
  return key in vi ? t(key as Key) : name;
}

/** Answers of nodes hold both languages: "đang tắt / is off". */
export function bilingual(said: string): string {
  return said.split('; ').map((part) => {
    const both = part.split(' / ');
    return both.length === 2 ? both[language.lang === 'vi' ? 0 : 1]! : part;
  }).join('; ');
}

/** What a machine said for itself, as this page's reader can read it; null when it is in the other language only. */
export function readable(said: string): string | null {
  const mine = bilingual(said);
  return language.lang === 'en' || mine !== said ? mine : null;
}

/** The same, and in English behind a word that says what it is. */
export const technical = (said: string) => readable(said) ?? t('app.technical', { text: said });

export const units = (): format.Units => ({
  second: t('unit.second'), minute: t('unit.minute'), hour: t('unit.hour'), day: t('unit.day'),
});

// Times of the site, in the site's zone.
export const date = (ms: number) => format.date(ms, language.zone);
export const time = (ms: number) => format.time(ms, language.zone);
export const timeSeconds = (ms: number) => format.timeSeconds(ms, language.zone);
export const dateTime = (ms: number) => format.dateTime(ms, language.zone);
export const dateTimeSeconds = (ms: number) => format.dateTimeSeconds(ms, language.zone);
export const duration = (ms: number) => format.duration(ms, units());
export const dayName = (ms: number) =>
  `${t(`weekday.${format.wallTime(ms, language.zone).weekday}` as Key)} ${date(ms)}`;

// Numbers with the language's own decimal sign.
export const number = (n: number, decimals?: number) => text.number(n, language.lang, decimals);
export const percent = (x: number, decimals = 0) => `${number(x * 100, decimals)}%`;
export const bytes = (n: number) => format.bytes(n, number);
export const clock = (seconds: number) => format.clock(seconds, number);
