import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { vi } from '../../src/i18n/vi';

const placeholders = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();
const sources = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((f) =>
    f.isDirectory() ? sources(`${dir}/${f.name}`) : /\.(svelte|ts|rs)$/.test(f.name) ? [readFileSync(`${dir}/${f.name}`, 'utf8')] : []);

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

  test('English has a word for one wherever it counts', () => {
    for (const [key, text] of Object.entries(en)) {
      for (const [, name] of text.matchAll(/\{(\w+)\|/g)) expect(placeholders(text), key).toContain(name);
      expect(text.replaceAll(/\{\w+\|[^{}|]+\|[^{}|]+\}/g, ''), key).not.toMatch(/[|]/);
    }
    // These have a number that is never one.
    const many = Object.keys(en).filter((key) => /\{n\} [a-z]+s\b/.test(en[key as keyof typeof vi]));
    expect(many).toEqual(['add.csv_hint', 'playback.pick']);
    for (const text of Object.values(vi)) expect(text).not.toMatch(/\{\w+\|/);
  });

  test('say a thing by one word', () => {
    // What these words meant is a rule, a node, to snooze, a range, to ask for, to be away, to be reached.
    const old = /(?<![\p{L}])(luật|nút|tạm ẩn|quãng|xin (?!chào)|vắng|không tới được|(?:bản ghi|đang|đã) thả)(?![\p{L}])/iu;
    expect(Object.entries(vi).filter(([, text]) => old.test(text))).toEqual([]);
    for (const text of [...Object.values(vi), ...Object.values(en)]) expect(text).not.toMatch(/\d %|\} %/);
    for (const text of Object.values(vi)) expect(text).not.toMatch(/\d\.\d/);
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
    for (const [, group] of all.matchAll(/`(\w+)\.\$\{/g)) groups.add(group!);
    for (const [, group] of all.matchAll(/`(error|why)\./g)) groups.add(group!);
    const unused = Object.keys(vi).filter((key) => !groups.has(key.split('.')[0]!) && !all.includes(`'${key}'`));
    expect(unused).toEqual([]);
    // In a group, what neither the page nor the program calls by its name is said by nobody. (Labels are the model's.)
    const program = sources('../src').join('\n').replaceAll(/\("([a-z]+)_([a-z]+)", S::/g, '("$1-$2", S::');
    const silent = Object.keys(vi).filter((key) => {
      const name = key.slice(key.indexOf('.') + 1);
      const said = [`'${key}'`, `'${name}'`].some((text) => all.includes(text)) || program.includes(`"${name}"`);
      return !said && !key.startsWith('label.') && !/^\d+$/.test(name) && !new RegExp(`\\b${name}: \\(\\) =>`).test(all);
    });
    expect(silent).toEqual([]);
  });
});
