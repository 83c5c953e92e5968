import { expect, test } from 'vitest';
import { fill, number, readNumber } from '../../src/lib/text';

test('a number has the sign of the language, and can be typed back', () => {
  expect([0.2, 1234.5, 3, -0.125].map((n) => number(n, 'vi'))).toEqual(['0,2', '1234,5', '3', '-0,125']);
  expect([0.2, 1234.5, 3, -0.125].map((n) => number(n, 'en'))).toEqual(['0.2', '1234.5', '3', '-0.125']);
  expect([number(5, 'vi', 1), number(12.345, 'en', 1), number(24.6, 'en', 0)]).toEqual(['5,0', '12.3', '25']);
  for (const lang of ['vi', 'en']) for (const n of [0.2, -1.5, 12345.25]) expect(readNumber(number(n, lang))).toBe(n);
  for (const none of ['', ' ', 'a', '1,2,3', '1.2.3']) expect(readNumber(none), none).toBeNaN();
});

test('words go with their number', () => {
  const rows = '{n} {n|row is|rows are} wrong';
  expect([0, 1, 2, 21].map((n) => fill(rows, { n }, 'en'))).toEqual(['0 rows are wrong', '1 row is wrong', '2 rows are wrong', '21 rows are wrong']);
  expect(fill('{n} {n|một|nhiều}', { n: 1 }, 'vi')).toBe('1 nhiều');
});

test('what is not given stays as it is, and what is given is not read again', () => {
  expect(fill('{a} {b}', { a: '{b}' }, 'en')).toBe('{b} {b}');
  expect(fill('quá {seconds} giây', { seconds: 8.5 }, 'vi')).toBe('quá 8,5 giây');
});
