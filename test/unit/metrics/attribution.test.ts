import { expect, it } from 'vitest';
import { Attribution } from '../../../src/metrics/attribution.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { resolve } from '../../../src/metrics/model.js';
import type { Pair } from '../../../src/receivers/counts.js';
import { counts, histogram, http, identity, pair } from '../../support/counts.js';

const address = (last: number) => ({ kind: 'address' as const, address: `10.0.0.${last}` });
const [x, y] = [1, 2].map((last) => pair('client', { kind: 'cgroup', cgroup: 1n }, address(last))) as [
  Pair,
  Pair,
];

/** Requests by destination, after one sweep with these counts and names. */
function sweeper(options?: { limit: number }) {
  const attribution = new Attribution(options);
  return (rows: readonly [Pair, number, string][]): Record<string, number> => {
    const sweep = counts({
      http: rows.map(([pair, count]) => http(pair, { duration: histogram(Array(count).fill(0.25)) })),
    });
    const names = new Map(rows.map(([pair, , name]) => [pair, identity(name)]));
    const identify = (pair: Pair) => ({ source: identity('me'), destination: names.get(pair)! });
    const [family] = otel().families(attribution.settle(resolve(sweep, identify)));
    return Object.fromEntries(
      (family?.points ?? []).map((point) => [
        point.attributes['destination.service'],
        'count' in point && point.count,
      ]),
    );
  };
}

it('leaves to the unknown what was reported before the name was known', () => {
  const sweep = sweeper();
  expect(
    sweep([
      [x, 10, 'unknown'],
      [y, 1_000_000, 'unknown'],
    ]),
  ).toEqual({ unknown: 1_000_010 });
  // Leaving with its history would read as a restart of the counter: a million requests more in every rate.
  expect(
    sweep([
      [x, 10, 'details'],
      [y, 1_000_000, 'unknown'],
    ]),
  ).toEqual({ unknown: 1_000_010, details: 0 });
  expect(
    sweep([
      [x, 15, 'details'],
      [y, 1_000_001, 'unknown'],
    ]),
  ).toEqual({ unknown: 1_000_011, details: 5 });
});

it('gives the next owner of an address nothing of the last one’s', () => {
  const sweep = sweeper();
  sweep([[x, 10, 'details']]);
  expect(sweep([[x, 12, 'unknown']])).toEqual({ details: 10, unknown: 2 });
  expect(sweep([[x, 20, 'reviews']])).toEqual({ details: 10, unknown: 2, reviews: 8 });
  expect(sweep([[x, 21, 'details']])).toEqual({ details: 11, unknown: 2, reviews: 8 });
});

it('reports on what left, and goes on when it comes back', () => {
  const sweep = sweeper();
  sweep([
    [x, 10, 'details'],
    [y, 5, 'details'],
  ]);
  expect(sweep([[y, 6, 'details']])).toEqual({ details: 16 });
  expect(sweep([])).toEqual({ details: 16 });
  expect(sweep([[{ ...x }, 12, 'details']])).toEqual({ details: 18 });
});

it('adds up where a receiver forgot and began again', () => {
  const sweep = sweeper();
  sweep([[x, 10, 'details']]);
  sweep([]);
  expect(sweep([[{ ...x }, 3, 'details']])).toEqual({ details: 13 });
  expect(sweep([[{ ...x }, 4, 'reviews']])).toEqual({ details: 13, reviews: 1 });
});

it('knows what comes back under another name', () => {
  const sweep = sweeper();
  sweep([[x, 10, 'details']]);
  sweep([]);
  expect(sweep([[{ ...x }, 12, 'reviews']])).toEqual({ details: 10, reviews: 2 });
});

it('forgets beyond its limit, whole names at a time, those that left first', () => {
  const sweep = sweeper({ limit: 2 });
  const all = [1, 2, 3, 4, 5, 6, 7].map((last) =>
    pair('client', { kind: 'cgroup', cgroup: 1n }, address(last)),
  );
  const at = (last: number): Pair => all[last - 1]!;
  sweep([
    [at(1), 1, 'a'],
    [at(2), 2, 'a'],
    [at(3), 3, 'b'],
  ]);
  expect(sweep([])).toEqual({ b: 3 });
  // A name that is in use is never forgotten in part.
  sweep([
    [at(4), 1, 'c'],
    [at(5), 1, 'c'],
    [at(6), 1, 'c'],
    [at(7), 1, 'c'],
  ]);
  expect(sweep([[at(4), 1, 'c']])).toEqual({ c: 4 });
});
