import { expect, test } from 'vitest';
import { ratesBetween, sumPairs } from '../../../src/cli/demo/rates.js';
import { DEFAULT_BOUNDARIES } from '../../../src/config/boundaries.js';
import { type Identify, resolve } from '../../../src/metrics/model.js';
import { counts, histogram, http, identifyNamed, named, overflowPair, pair } from '../../support/counts.js';

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
