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
function sweeper() {
  const attribution = new Attribution();
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

it('leaves to the unknown what was counted before the name was known', () => {
  const sweep = sweeper();
  expect(
    sweep([
      [x, 10, 'unknown'],
      [y, 1_000_000, 'unknown'],
    ]),
  ).toEqual({ unknown: 1_000_010 });
  // All of it leaving would read as a restart of the counter: a million requests more in every rate.
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
  sweep([[x, 12, 'unknown']]);
  expect(sweep([[x, 20, 'reviews']])).toEqual({ details: 12, unknown: 8, reviews: 0 });
  expect(sweep([[x, 21, 'reviews']])).toEqual({ details: 12, unknown: 8, reviews: 1 });
  expect(sweep([[x, 21, 'details']])).toEqual({ details: 12, unknown: 8, reviews: 1 });
  expect(sweep([[x, 24, 'details']])).toEqual({ details: 15, unknown: 8, reviews: 1 });
});
