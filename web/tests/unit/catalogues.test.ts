import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { vi } from '../../src/i18n/vi';

const placeholders = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();
const sources = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((f) =>
    f.isDirectory() ? sources(`${dir}/${f.name}`) : /\.(svelte|ts)$/.test(f.name) ? [readFileSync(`${dir}/${f.name}`, 'utf8')] : []);

describe('catalogues', () => {
  test('have the same keys', () => {
    expect(Object.keys(en)).toEqual(Object.keys(vi));
  });

  test('have the same placeholders and no empty text', () => {
    for (const [key, text] of Object.entries(vi)) {
      expect(placeholders(en[key as keyof typeof vi]), key).toEqual(placeholders(text));
      expect(text.trim(), key).not.toBe('');
      expect(en[key as keyof typeof vi].trim(), key).not.toBe('');
    }
  });

  test('an event asks for attention, it accuses nobody', () => {
    for (const text of [...Object.values(en), ...Object.values(vi)]) {
      expect(text).not.toMatch(/crime|criminal|suspect|thief|tội phạm|nghi phạm|kẻ trộm/i);
    }
  });

  test('hold every text that the page names, and none that it does not', () => {
    const all = sources('src').filter((s) => !s.includes('export const vi') && !s.includes('export const en')).join('\n');
    for (const [, key] of all.matchAll(/\bt\('([\w.-]+)'/g)) expect(vi, key).toHaveProperty([key!]);
    // Whole groups are named by what the server says or by a list.
    const groups = new Set([...all.matchAll(/named\('([\w]+)'/g)].map((m) => m[1]!));
    for (const [, group] of all.matchAll(/t\(`(\w+)\./g)) groups.add(group!);
    for (const [, group] of all.matchAll(/`(error|why)\./g)) groups.add(group!);
    const unused = Object.keys(vi).filter((key) => !groups.has(key.split('.')[0]!) && !all.includes(`'${key}'`));
    expect(unused).toEqual([]);
  });
});
