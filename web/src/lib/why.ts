// Why an event fired, in one sentence of the reader's language.

import type { Why } from './types';

export interface Words {
  t: (key: string, params?: Record<string, string | number>) => string;
  kind: (kind: string) => string;
  label: (label: string) => string;
}

export function whySentence(why: Why, words: Words): string {
  const { t } = words;
  const who = why.label ? words.label(why.label) : t('why.someone');
  const place =
    why.line !== null ? 'line' : why.kind === 'loitering' && why.dwell_seconds !== null ? 'dwell' : why.zone !== null ? 'zone' : 'plain';
  const what = t(`why.${place}`, {
    who, line: why.line ?? '', zone: why.zone ?? '', seconds: why.dwell_seconds ?? 0,
  });
  const when = why.schedule ? t('why.schedule', { schedule: why.schedule }) : t('why.always');
  const sure = why.score !== null && why.score > 0 ? t('why.score', { percent: Math.round(why.score * 100) }) : '';
  return t('why.sentence', { rule: why.rule, kind: words.kind(why.kind), what, sure, when });
}
