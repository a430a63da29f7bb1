import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { quantile, ratesBetween, sumPairs } from '../../../src/cli/demo/rates.js';
import { DEFAULT_BOUNDARIES } from '../../../src/config/boundaries.js';
import { type Identify, resolve } from '../../../src/metrics/model.js';
import { counts, histogram, http, identifyNamed, named, overflowPair, pair } from '../../support/counts.js';

describe('quantile', () => {
  test('is in the bucket of the observation that it stands for', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-5, max: 59, noNaN: true }), { minLength: 1 }),
        fc.constantFrom(0.5, 0.99),
        (observations, q) => {
          const sorted = observations.toSorted((a, b) => a - b);
          const exact = sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]!;
          const index = DEFAULT_BOUNDARIES.findIndex((bound) => exact <= bound);
          const found = quantile(q, histogram(observations).buckets, DEFAULT_BOUNDARIES);
          // But for the last bit of a sum of doubles.
          expect(found).toBeGreaterThanOrEqual((DEFAULT_BOUNDARIES[index - 1] ?? 0) * (1 - 1e-12));
          expect(found).toBeLessThanOrEqual(DEFAULT_BOUNDARIES[index]! * (1 + 1e-12));
        },
      ),
    );
  });

  // The documented rule of histogram_quantile, by hand: linear within a bucket, the last bound for +Inf.
  test.each([
    [0.5, [2, 4, 2, 0], 0.175],
    [0.99, [2, 4, 2, 0], 0.49],
    [0.99, [2, 4, 2, 8], 0.5],
  ])('%d of %j', (q, buckets, expected) => {
    expect(quantile(q, Float64Array.from(buckets), [0.1, 0.25, 0.5])).toBeCloseTo(expected, 10);
  });

  test('of nothing is not a number', () => {
    expect(quantile(0.5, new Float64Array(4), [0.1, 0.25, 0.5])).toBeNaN();
  });
});

test('rates are of what came between, once for each pair, as the server saw it', () => {
  const identify: Identify = identifyNamed();
  const server = pair('server', named('b'), named('a'));
  const client = pair('client', named('a'), named('b'));
  const sums = (ok: number, failed: number) =>
    sumPairs(
      resolve(
        counts({
          http: [
            http(server, { status: 200, duration: histogram(Array(ok).fill(0.002)) }),
            http(server, { status: 503, duration: histogram(Array(failed).fill(0.2)) }),
            http(server, { status: undefined, failure: 'reset', duration: histogram([1]) }),
            http(client, { status: 200, duration: histogram(Array(ok).fill(0.002)) }),
            http(overflowPair('server'), { overflow: true, duration: histogram([1, 1]) }),
          ],
        }),
        identify,
      ),
    );
  const [rate, ...more] = ratesBetween(sums(10, 1), sums(40, 11), 10, DEFAULT_BOUNDARIES);
  expect(more).toEqual([]);
  expect(rate).toMatchObject({ source: 'a', destination: 'b', rate: 4, failed: 0.25 });
  expect(rate!.p50).toBeGreaterThan(0.001);
  expect(rate!.p50).toBeLessThan(0.0025);
  expect(rate!.p99).toBeGreaterThan(0.1);
});
