// An error in the words of the person who sees it.

import { ApiError } from './api';
import { bilingual, named, readable, t, technical, type Key } from './i18n.svelte';
import { vi } from '../i18n/vi';

export function problemText(error: unknown): string {
  if (!(error instanceof ApiError)) return t('error.internal');
  if (error.code === 'forbidden') {
    const reason = error.text('reason');
    return reason ? `${t('error.forbidden')}: ${named('refused', reason)}` : t('error.forbidden');
  }
  if (error.code === 'conflict') {
    const owner = error.text('owner');
    return owner ? t('triage.conflict', { name: owner }) : t('error.conflict');
  }
  if (error.code === 'locked') {
    return t('error.locked', { seconds: error.text('retry_after') ?? '60' });
  }
  const key = `error.${error.code.replaceAll('_', '-')}`;
  const words = key in vi ? t(key as Key) : t('error.internal');
  const obstacle = error.text('obstacle');
  if (obstacle && `obstacle.${obstacle}` in vi) return `${words}: ${named('obstacle', obstacle)}`;
  const detail = error.text('detail');
  if (!detail) return words;
  return readable(detail) === null ? `${words}. ${technical(detail)}` : `${words}: ${bilingual(detail)}`;
}

/** What a node has against something, and how to mend it. */
export function explained(detail: string, hint?: string | null): string {
  if (!detail && !hint) return '';
  if (readable(detail) === null) return technical([detail, hint].filter(Boolean).join('. '));
  return [bilingual(detail), hint ? t('edit.mend', { hint: bilingual(hint) }) : ''].filter(Boolean).join('. ');
}
