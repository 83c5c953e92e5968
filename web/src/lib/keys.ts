// The keyboard: which key means what, and when a key is not for us.

export type KeyCommand =
  | 'own' | 'dispatch' | 'true_alarm' | 'false_alarm' | 'note' | 'next' | 'previous' | 'open' | 'back'
  | 'help' | 'frame_back' | 'frame_forward' | 'play' | 'slower' | 'faster' | 'mute' | 'search';

export const KEYS: readonly (readonly [key: string, command: KeyCommand])[] = [
  ['j', 'next'],
  ['k', 'previous'],
  ['Enter', 'open'],
  ['Escape', 'back'],
  ['o', 'own'],
  ['d', 'dispatch'],
  ['r', 'true_alarm'],
  ['f', 'false_alarm'],
  ['n', 'note'],
  [' ', 'play'],
  [',', 'frame_back'],
  ['.', 'frame_forward'],
  ['[', 'slower'],
  [']', 'faster'],
  ['m', 'mute'],
  ['/', 'search'],
  ['?', 'help'],
];

export interface KeyLike {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  isComposing?: boolean;
  target: unknown;
}

interface TargetLike { tagName?: string; type?: string; isContentEditable?: boolean }

const TEXT_FIELDS = new Set(['TEXTAREA', 'SELECT']);
const NO_TEXT_INPUTS = new Set(['checkbox', 'radio', 'button', 'submit', 'range']);
const PRESSABLE = new Set(['BUTTON', 'A', 'SUMMARY', 'INPUT', 'VIDEO']);

/** The command of a key press, or null when it belongs to a field, a button or the browser. */
export function keyCommand(event: KeyLike): KeyCommand | null {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null;
  const target = (event.target ?? {}) as TargetLike;
  const tag = target.tagName ?? '';
  const writes =
    target.isContentEditable === true || TEXT_FIELDS.has(tag) || (tag === 'INPUT' && !NO_TEXT_INPUTS.has(target.type ?? 'text'));
  if (writes) return event.key === 'Escape' ? 'back' : null;
  if ((event.key === 'Enter' || event.key === ' ') && PRESSABLE.has(tag)) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return KEYS.find(([k]) => k === key)?.[1] ?? null;
}
