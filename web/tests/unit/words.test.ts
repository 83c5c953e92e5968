import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { vi } from '../../src/i18n/vi';
import { problem, queryString } from '../../src/lib/api';
import { explained, problemText } from '../../src/lib/problems';
import { language } from '../../src/lib/i18n.svelte';
import { fill } from '../../src/lib/text';
import { whySentence } from '../../src/lib/why';
import type { Why } from '../../src/lib/types';

const why: Why = { rule: 'ban-dem', kind: 'loitering', zone: 'ngã ba', line: null, dwell_seconds: 8.5, score: 0.82, label: 'person', schedule: null, config_revision: 1 };
const say = (w: Why, catalogue: Record<string, string>) => whySentence(w, {
  t: (key, params = {}) => fill(catalogue[key]!, params, catalogue === vi ? 'vi' : 'en'),
  kind: (k) => catalogue[`kind.${k}`] ?? k,
  label: (l) => catalogue[`label.${l}`] ?? l,
});

describe('why it fired', () => {
  test('is a sentence in both languages', () => {
    expect(say(why, vi)).toBe('Quy tắc “ban-dem” (Lảng vảng) báo vì có người ở trong vùng “ngã ba” quá 8,5 giây, độ tin cậy 82%; quy tắc áp dụng 24/24 giờ.');
    expect(say({ ...why, kind: 'line_crossing', line: 'lối vào', schedule: 'đêm' }, en))
      .toBe('The rule “ban-dem” (Line crossing) fired: person crossed the line “lối vào”, 82% sure; within the schedule “đêm”.');
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
  const triage = readFileSync('../src/centre/triage.rs', 'utf8').split('impl Obstacle')[1]!.split('fn text')[0]!;
  const obstacles = [...triage.matchAll(/=> "([a-z-]+)"/g)].map((m) => m[1]!);
  expect(obstacles.length).toBeGreaterThan(5);
  expect(obstacles.filter((o) => !(`obstacle.${o}` in vi))).toEqual([]);
});

test('a page in Vietnamese calls what is in English only a technical detail', async () => {
  const say = async (lang: 'vi' | 'en', body: Record<string, unknown>) => {
    await language.choose(lang);
    return problemText(problem(400, { type: `urn:wardwatch:problem:${body['code'] as string}`, ...body }));
  };
  const obstacle = { code: 'obstacle', obstacle: 'nobody-has-it', detail: 'nobody has it' };
  expect(await say('vi', obstacle)).toBe('Không làm được ở trạng thái này: chưa ai nhận');
  expect(await say('en', obstacle)).toBe('This cannot be done in its present state: nobody has it');
  const both = { code: 'invalid', detail: 'mật khẩu quá dễ đoán / the password is too easy to guess' };
  expect(await say('vi', both)).toBe('Dữ liệu không hợp lệ: mật khẩu quá dễ đoán');
  expect(await say('en', both)).toBe('This is not valid: the password is too easy to guess');
  const english = { code: 'invalid', detail: 'limit is 1 to 500' };
  expect(await say('vi', english)).toBe('Dữ liệu không hợp lệ. Chi tiết kỹ thuật: limit is 1 to 500');
  expect(await say('en', english)).toBe('This is not valid: limit is 1 to 500');
  await language.choose('vi');
  expect(explained('no such zone', 'draw it')).toBe('Chi tiết kỹ thuật: no such zone. draw it');
  expect(explained('không có vùng này / no such zone', 'vẽ vùng / draw it')).toBe('không có vùng này. Cách sửa: vẽ vùng');
  expect(explained('')).toBe('');
  await language.choose('en');
  expect(explained('no such zone', 'draw it')).toBe('no such zone. To fix it: draw it');
  await language.choose('vi');
});
