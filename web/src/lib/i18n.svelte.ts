// The language in use, and texts in it. Vietnamese is the catalogue; English has the same keys.

import { en } from '../i18n/en';
import { vi, type Key } from '../i18n/vi';
import * as format from './format';
import { remember, remembered } from './prefs';
import * as text from './text';
import type { Params } from './text';

export type { Key, Params };
export type Lang = 'vi' | 'en';
const catalogues: Record<Lang, Record<Key, string>> = { vi, en };

class Language {
  lang = $state<Lang>(remembered('lang') === 'en' ? 'en' : 'vi');
  zone = $state('Asia/Ho_Chi_Minh');

  choose(lang: Lang): void {
    this.lang = lang;
    remember('lang', lang);
    document.documentElement.lang = lang;
  }
}

export const language = new Language();

export function t(key: Key, params: Params = {}): string {
  return text.fill(catalogues[language.lang][key], params, language.lang);
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
