// Words and colours that several parts of the editor share.

import type { RuleTable, Shape, ShapeKind } from './draft';
import { percent, t } from './i18n.svelte';
import type { Point } from './types';

export const COLOURS = 8;

/** A rule has one colour everywhere: on its paths, in its counts, at its settings. */
export function ruleColour(rules: readonly RuleTable[], name: string): number {
  const at = rules.findIndex((r) => r.name === name);
  return at < 0 ? COLOURS - 1 : at % (COLOURS - 1);
}

/** What a new shape is called; the name is made of it. */
export const drawnWord = (kind: ShapeKind) => t(kind === 'zone' ? 'edit.zone' : kind === 'line' ? 'edit.line' : 'edit.mask');

export const shapeLabel = (s: Shape) => `${drawnWord(s.kind)} ${s.name}`;

export const numbers = (p: Point) => `${percent(p[0], 1)}, ${percent(p[1], 1)}`;
