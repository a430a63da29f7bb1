import { expect, test } from 'vitest';
import { positions } from '../../../src/exporters/page/browser/layout.js';

const place = (id: string, namespace = '') => ({ id, namespace });
const call = (source: string, target: string) => ({ source, target });

test('callers are left of those they call', () => {
  const services = ['load', 'productpage', 'details', 'reviews', 'ratings'].map((id) => place(id));
  const calls = [
    call('load', 'productpage'),
    call('productpage', 'details'),
    call('productpage', 'reviews'),
    call('reviews', 'ratings'),
  ];
  const at = positions(services, calls);
  for (const { source, target } of calls) expect(at.get(source)!.x).toBeLessThan(at.get(target)!.x);
  expect(at.get('details')!.x).toBe(at.get('reviews')!.x);
});

test('circles, calls to oneself and services without calls have their place too', () => {
  const calls = [call('a', 'b'), call('b', 'a'), call('b', 'c'), call('c', 'c')];
  const at = positions(
    ['a', 'b', 'c', 'alone'].map((id) => place(id)),
    calls,
  );
  expect(at.size).toBe(4);
  expect(at.get('b')!.x).toBeLessThan(at.get('c')!.x);
});

test('no two services are in one place, and no namespace reaches into another', () => {
  const services = Array.from({ length: 300 }, (_, i) => place(`s${i}`, `n${i % 12}`));
  const calls = Array.from({ length: 2000 }, (_, i) => call(`s${(i * 7) % 300}`, `s${(i * 13 + 1) % 300}`));
  const at = positions(services, calls);
  expect(new Set([...at.values()].map(({ x, y }) => `${x} ${y}`)).size).toBe(300);
  const boxes = Array.from({ length: 12 }, (_, n) => {
    const own = services.filter(({ namespace }) => namespace === `n${n}`).map(({ id }) => at.get(id)!);
    const [xs, ys] = [own.map(({ x }) => x), own.map(({ y }) => y)];
    return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  });
  for (const [i, one] of boxes.entries())
    for (const other of boxes.slice(i + 1)) {
      const apart =
        one.right < other.left || other.right < one.left || one.bottom < other.top || other.bottom < one.top;
      expect(apart).toBe(true);
    }
  expect(positions(services, calls)).toEqual(at);
});
