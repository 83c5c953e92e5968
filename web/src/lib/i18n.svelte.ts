// The language in use, and texts in it. Vietnamese is the catalogue; English has the same keys.

import { en } from '../i18n/en';
import { vi, type Key } from '../i18n/vi';
import * as format from './format';
import { remember, remembered } from './prefs';

export type { Key };
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

export type Params = Record<string, string | number>;

export function fill(text: string, params: Params): string {
  return text.replace(/\{(\w+)\}/g, (all, name: string) => (name in params ? String(params[name]) : all));
}

export function t(key: Key, params: Params = {}): string {
  return fill(catalogues[language.lang][key], params);
}

/** A text whose key comes from the server; what we have no words for is shown as it is. */
export function named(group: string, name: string): string {
  const key = `${group}.${name}`;
  return key in vi ? t(key as Key) : name;
}

/** Answers of nodes hold both languages: "đang tắt / is off". */
export function bilingual(text: string): string {
  return text.split('; ').map((part) => {
    const both = part.split(' / ');
    return both.length === 2 ? both[language.lang === 'vi' ? 0 : 1]! : part;
  }).join('; ');
}

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
export const percent = (x: number) => `${Math.round(x * 100)} %`;
