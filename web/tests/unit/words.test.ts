import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { vi } from '../../src/i18n/vi';
import { problem, queryString } from '../../src/lib/api';
import { whySentence } from '../../src/lib/why';
import type { Why } from '../../src/lib/types';

const why: Why = { rule: 'ban-dem', kind: 'loitering', zone: 'ngã ba', line: null, dwell_seconds: 8, score: 0.82, label: 'person', schedule: null, config_revision: 1 };
const say = (w: Why, catalogue: Record<string, string>) => whySentence(w, {
  t: (key, params = {}) => catalogue[key]!.replace(/\{(\w+)\}/g, (_, name: string) => String(params[name])),
  kind: (k) => catalogue[`kind.${k}`] ?? k,
  label: (l) => catalogue[`label.${l}`] ?? l,
});

describe('why it fired', () => {
  test('is a sentence in both languages', () => {
    expect(say(why, vi)).toBe('Luật “ban-dem” (Lảng vảng) báo vì có người ở trong vùng “ngã ba” quá 8 giây, độ chắc chắn 82 %; luật canh suốt ngày đêm.');
    expect(say({ ...why, kind: 'line_crossing', line: 'lối vào', schedule: 'đêm' }, en))
      .toBe('The rule “ban-dem” (Line crossing) fired: person crossed the line “lối vào”, 82 % sure; within the schedule “đêm”.');
  });

  test('needs neither zone nor label nor score', () => {
    for (const catalogue of [vi, en]) {
      const text = say({ ...why, zone: null, label: null, score: null, dwell_seconds: null }, catalogue);
      expect(text).not.toMatch(/undefined|null|NaN|\{/);
    }
  });
});

test('a problem is known by its code, and a page of a proxy is one too', () => {
  const conflict = problem(409, { type: 'urn:wardwatch:problem:conflict', owner: 'An', version: 3 });
  expect([conflict.code, conflict.text('owner'), conflict.text('version')]).toEqual(['conflict', 'An', null]);
  expect(problem(502, null).code).toBe('internal');
  expect(problem(418, 'x').code).toBe('invalid');
});

test('a query names each value, and nothing that is empty', () => {
  expect(queryString({ camera: ['a/b', 'c/d'], text: '', from_ms: 0, after: null, x: undefined })).toBe('?camera=a%2Fb&camera=c%2Fd&from_ms=0');
  expect(queryString({})).toBe('');
});

test('the page has words for each refusal of the centre', () => {
  const source = readFileSync('../src/centre/api/v1/problem.rs', 'utf8');
  const codes = [...source.matchAll(/\("([a-z_-]+)", S::/g)].map((m) => m[1]!.replaceAll('_', '-'));
  expect(codes.length).toBeGreaterThan(15);
  expect(codes.filter((code) => !(`error.${code}` in vi))).toEqual([]);
});
