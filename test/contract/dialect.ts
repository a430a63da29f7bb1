/**
 * What every dialect owes its readers. A dialect's test calls {@link testDialect} and adds what is its own.
 *
 * @module
 */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { labelName, metricName } from '../../src/exporters/prometheus-names.js';
import { serialize } from '../../src/exporters/text-format.js';
import { UNKNOWN } from '../../src/identity/identity.js';
import { Attribution } from '../../src/metrics/attribution.js';
import type { Dialect } from '../../src/metrics/dialects/dialect.js';
import type { MetricFamily } from '../../src/metrics/family.js';
import { type Identify, resolve } from '../../src/metrics/model.js';
import type { Counts, Failure, Pair, Role } from '../../src/receivers/counts.js';
import {
  counts,
  histogram,
  http,
  identifyNamed,
  identity,
  named,
  overflowPair,
  pair,
  tcp,
} from '../support/counts.js';
import { checkMetrics } from '../support/promtool.js';

const ENDS = ['source', 'destination'].flatMap((end) =>
  ['service', 'namespace', 'workload'].map((what) => `${end}_${what}`),
);

const HOSTILE = [
  '"',
  '\\',
  '\n',
  'a"b\\c\nd',
  '\\n',
  '\ud800',
  '\0',
  '\r\n',
  '}',
  '{le="1"} 7',
  '日本語',
  'x'.repeat(10_000),
];

export interface DialectTraits {
  /** What `promtool check metrics` has to say about names that the dialect can not choose. @default nothing */
  lint?: readonly string[];
}

export function testDialect(dialect: Dialect, { lint = [] }: DialectTraits = {}): void {
  const families = (sweep: Counts, identify: Identify = identifyNamed()) =>
    dialect.families(resolve(sweep, identify));

  describe(`contract of the ${dialect.name} dialect`, () => {
    it('has each family once and no two points of one family with equal labels', () => {
      // Replicas, unknown ends and repeated rows: much that has one name.
      const replicas = (role: Role) => [1, 2, 3].map(() => pair(role, named('a'), named('b')));
      const all = [
        ...replicas('client'),
        ...replicas('server'),
        overflowPair('client'),
        overflowPair('server'),
      ];
      const found = families(everything(all));
      expect(new Set(found.map(({ name }) => name)).size).toBe(found.length);
      for (const { points } of found) {
        const keys = points.map(({ attributes }) => JSON.stringify(Object.entries(attributes).sort()));
        expect(new Set(keys).size).toBe(keys.length);
      }
    });

    it('names both ends on every point, also where a name is not known', () => {
      const sweep = everything([
        pair('client', named('a', 'ns', 'a-v1'), named('b')),
        pair('server', named('a'), named('b', 'ns', 'b-v1')),
        pair('server', { kind: 'cgroup', cgroup: 7n }, { kind: 'address', address: '192.0.2.1' }),
      ]);
      for (const { name, points } of families(sweep)) {
        for (const { attributes } of points) {
          const labels = Object.keys(attributes).map(labelName);
          expect(labels, name).toEqual(expect.arrayContaining(ENDS));
        }
      }
    });

    it('says of what exceeds the budget only that, and of which side it is where no name tells', () => {
      for (const { name, points } of families(everything([overflowPair('client'), overflowPair('server')]))) {
        for (const { attributes } of points) {
          expect(attributes, name).toMatchObject({ 'otel.metric.overflow': true });
          for (const label of Object.keys(attributes).map(labelName)) expect(ENDS).not.toContain(label);
        }
      }
    });

    it('has whole histograms: one bucket more than boundaries, and their sum is the count', () => {
      for (const family of families(everything([pair('client', named('a'), named('b'))]))) {
        if (family.type !== 'histogram') continue;
        for (const { buckets, count } of family.points) {
          expect(buckets.length).toBe(family.boundaries.length + 1);
          expect(Array.from(buckets).reduce((a, b) => a + b)).toBe(count);
        }
      }
    });

    it('prescribes no Prometheus name that OpenTelemetry’s rules would not give', () => {
      // So that an embedder's own readers, which know the rules only, show the same names.
      for (const { name, unit, type, prometheusName } of families(
        everything([pair('client', named('a'), named('b'))]),
      ))
        if (prometheusName !== undefined) expect(metricName(name, unit, type)).toBe(prometheusName);
    });

    it('passes promtool, whatever the names in it', async () => {
      const pairs = HOSTILE.flatMap((name) => [
        pair('client', named(name, name, name), named('b')),
        pair('server', named('b'), named(name, name, name)),
      ]);
      const text = [
        ...serialize({ families: families(everything(pairs)), resource: {} }, { format: 'text' }),
      ].join('');
      expect((await checkMetrics(text)).problems).toEqual(lint);
    });

    it('has no point that goes backwards while names change and pairs come and go, and loses nothing', () => {
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
          const world = new World();
          const settled = new Attribution();
          const before = new Map<string, number>();
          settled.settle(resolve(world.sweep(), world.identify));
          for (const one of steps) {
            world.take(one);
            const found = dialect.families(settled.settle(resolve(world.sweep(), world.identify)));
            const now = flat(found);
            for (const [key, value] of before) expect(now.get(key) ?? -1, key).toBeGreaterThanOrEqual(value);
            for (const [key, value] of now) before.set(key, value);
            // Nothing is lost and nothing is counted twice: the names do not change the sum.
            const nobody = () => ({ source: UNKNOWN, destination: UNKNOWN });
            const unnamed = dialect.families(resolve(world.truth(), nobody));
            expect(totals(found)).toEqual(totals(unnamed));
          }
        }),
        { numRuns: 50 },
      );
    });
  });
}

/** One of each kind of request and connection for every pair. */
function everything(pairs: readonly Pair[]): Counts {
  const seen = histogram([0.0002, 0.003, 0.3, 100]);
  const kinds: { status?: number; failure?: Failure }[] = [
    { status: 200 },
    { status: 404 },
    { status: 503 },
    { status: 200, failure: 'closed' },
    { failure: 'reset' },
    { failure: 'closed' },
    { failure: 'timeout' },
  ];
  return counts({
    http: pairs.flatMap((pair) =>
      kinds.map(({ status, failure }) =>
        http(pair, {
          status,
          failure,
          overflow: pair.overflow,
          duration: seen,
          firstByte: status === undefined ? histogram() : seen,
        }),
      ),
    ),
    tcp: pairs.map((pair) =>
      tcp(pair, {
        opened: 8,
        closed: 4,
        reset: 2,
        timedOut: 1,
        refused: 3,
        unreachable: 2,
        cancelled: 1,
        bytesSent: 1e6,
        bytesReceived: 2e6,
        retransmits: 5,
        connect: pair.role === 'client' ? seen : histogram(),
        rtt: seen,
      }),
    ),
  });
}

type Step =
  | { kind: 'traffic'; pair: number; status: number; count: number }
  | { kind: 'leave'; pair: number }
  | { kind: 'rename'; pair: number; name: string };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('traffic' as const),
    pair: fc.nat(5),
    status: fc.constantFrom(200, 500),
    count: fc.nat(9),
  }),
  fc.record({ kind: fc.constant('leave' as const), pair: fc.nat(5) }),
  fc.record({
    kind: fc.constant('rename' as const),
    pair: fc.nat(5),
    name: fc.constantFrom('unknown', 'a', 'b'),
  }),
);

/** Six pairs under few names, which change. Pairs leave, and come back with their counts as other objects. */
class World {
  readonly #pairs = Array.from({ length: 6 }, (_, i) =>
    pair(
      i < 3 ? 'client' : 'server',
      { kind: 'cgroup', cgroup: BigInt(i) },
      { kind: 'address', address: `10.0.0.${i}` },
    ),
  );
  readonly #here = this.#pairs.map(() => true);
  readonly #names = this.#pairs.map(() => 'unknown');
  readonly #requests = this.#pairs.map(() => new Map<number, number>());

  readonly identify: Identify = (pair) => {
    const other = identity(this.#names[this.#pairs.indexOf(pair)]!);
    const own = identity('own');
    return pair.role === 'client' ? { source: own, destination: other } : { source: other, destination: own };
  };

  take(step: Step): void {
    if (step.kind === 'rename') this.#names[step.pair] = step.name;
    else if (step.kind === 'leave') this.#here[step.pair] = false;
    else {
      if (!this.#here[step.pair]) this.#pairs[step.pair] = { ...this.#pairs[step.pair]! };
      this.#here[step.pair] = true;
      const requests = this.#requests[step.pair]!;
      requests.set(step.status, (requests.get(step.status) ?? 0) + step.count);
    }
  }

  /** What a receiver shows. */
  sweep(): Counts {
    const { http, tcp, ...rest } = this.truth();
    const here = (row: { pair: Pair }) => this.#here[this.#pairs.indexOf(row.pair)]!;
    return { ...rest, http: http.filter(here), tcp: tcp.filter(here) };
  }

  truth(): Counts {
    const observed = (count: number) => histogram(Array.from({ length: count }, () => 0.25));
    return counts({
      http: this.#pairs.flatMap((pair, i) =>
        [...this.#requests[i]!].map(([status, count]) =>
          http(pair, { status, duration: observed(count), firstByte: observed(count) }),
        ),
      ),
      tcp: this.#pairs.map((pair, i) => tcp(pair, { opened: this.#requests[i]!.size, bytesSent: i })),
    });
  }
}

/** Every number of every point, by family and labels. */
function flat(families: readonly MetricFamily[]): Map<string, number> {
  const all = new Map<string, number>();
  for (const family of families) {
    if (family.type === 'histogram') {
      for (const { attributes, buckets, count, sum } of family.points)
        [count, sum, ...Array.from(buckets)].forEach((value, i) => {
          all.set(`${family.name} ${JSON.stringify(attributes)} ${i}`, value);
        });
    } else {
      for (const { attributes, value } of family.points)
        all.set(`${family.name} ${JSON.stringify(attributes)}`, value);
    }
  }
  return all;
}

function totals(families: readonly MetricFamily[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [key, value] of flat(families)) {
    const name = key.slice(0, key.indexOf(' '));
    sums[name] = (sums[name] ?? 0) + value;
  }
  return sums;
}
