import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEFAULT_BOUNDARIES } from '../../../src/config/boundaries.js';
import { quantile } from '../../../src/metrics/quantile.js';
import { histogram } from '../../support/counts.js';

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
