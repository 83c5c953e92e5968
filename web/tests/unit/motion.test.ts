import { expect, test } from 'vitest';
import { positionAt, type Way } from '../../src/lib/motion';
import { walked } from '../../src/lib/place';

test('where something was at a moment lies on its way, and before and after it nowhere', () => {
  const way: Way = [[-4, 0.1, 0.2], [0, 0.5, 0.6], [2, 0.7, 0.6]];
  expect(positionAt(way, -4)).toEqual([0.1, 0.2]);
  expect(positionAt(way, -2)!.map((n) => n.toFixed(3))).toEqual(['0.300', '0.400']);
  expect(positionAt(way, 1)!.map((n) => n.toFixed(3))).toEqual(['0.600', '0.600']);
  expect(positionAt(way, 2)).toEqual([0.7, 0.6]);
  expect(positionAt(way, 2.1)).toBeNull();
  expect(positionAt(way, -4.1)).toBeNull();
  expect(positionAt([], 0)).toBeNull();
  expect(positionAt([[0, 0.5, 0.5]], 0)).toEqual([0.5, 0.5]);
});

test('a step back is known as one, so that the page never leads out of itself', () => {
  const there = walked(walked(['#/now'], '#/event/n/1'), '#/cameras/n/c');
  expect(there).toEqual(['#/now', '#/event/n/1', '#/cameras/n/c']);
  expect(walked(there, '#/event/n/1')).toEqual(['#/now', '#/event/n/1']);
  expect(walked(walked(there, '#/event/n/1'), '#/now')).toEqual(['#/now']);
  expect(Array.from({ length: 99 }, (_, i) => `#/${i}`).reduce<readonly string[]>(walked, []).length).toBe(50);
});
