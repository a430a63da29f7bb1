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
import { Attribution, type Source } from '../../src/metrics/attribution.js';
import type { Dialect } from '../../src/metrics/dialects/dialect.js';
import type { MetricFamily } from '../../src/metrics/family.js';
import { type Identify, resolve } from '../../src/metrics/model.js';
import type { Counts, DnsCounts, HttpCounts, Pair, Role } from '../../src/receivers/counts.js';
import type { Memory } from '../../src/receivers/receiver.js';
import {
  counts,
  dns,
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
      const steps = fc.array(fc.oneof(traffic, leave, wait, rename), { minLength: 1, maxLength: 30 });
      fc.assert(
        fc.property(steps, (steps) => {
          const world = new World();
          const watch = new Watch(dialect, world);
          for (const one of steps) {
            world.take(one);
            watch.look();
          }
        }),
        { numRuns: 50 },
      );
    });

    it('nor while agents are killed at any moment', () => {
      const steps = fc.array(fc.oneof(traffic, leave, wait, end), { minLength: 1, maxLength: 30 });
      fc.assert(
        fc.property(steps, (steps) => {
          const world = new World();
          const watch = new Watch(dialect, world);
          for (const one of steps) {
            world.take(one);
            if (one.kind === 'end') watch.restart();
            watch.look();
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
  const rpc = { service: 'shop.Cart', method: 'Add' };
  const kinds: Partial<HttpCounts>[] = [
    { status: 200 },
    { status: 404 },
    { status: 503 },
    { status: 200, failure: 'closed' },
    { failure: 'reset' },
    { failure: 'closed' },
    { failure: 'timeout' },
    { status: 200, version: '2', rpc: { ...rpc, status: 'OK' } },
    { status: 200, version: '2', rpc: { ...rpc, status: 'UNAVAILABLE' } },
    { status: 200, version: '2', rpc: { ...rpc, status: undefined } },
    { status: 'unknown', version: '2', rpc: { ...rpc, status: 'unknown' } },
    { failure: 'stream_cancel', version: '2', rpc: { ...rpc, status: undefined } },
  ];
  return counts({
    http: pairs.flatMap((pair) =>
      kinds.map(({ status, ...more }) =>
        http(pair, {
          ...more,
          status,
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
        tls: 3,
        tlsDecoded: 2,
        connect: pair.role === 'client' ? seen : histogram(),
        rtt: seen,
      }),
    ),
    dns: pairs.flatMap((pair) =>
      [
        { queries: 9, unanswered: 2 },
        { type: 'AAAA', queries: 4 },
        { code: 0, addresses: 2, records: { A: 8, CNAME: 4 }, duration: seen },
        { code: 3, duration: seen },
        { type: 'AAAA', code: 15, duration: seen },
      ].map((more) => dns(pair, { ...more, overflow: pair.overflow })),
    ),
  });
}

const FOLD_AFTER = 1000;

type Step =
  | { kind: 'traffic'; pair: number; status: number | undefined; count: number }
  | { kind: 'leave'; pair: number }
  | { kind: 'wait'; milliseconds: number }
  | { kind: 'rename'; pair: number; name: string }
  | { kind: 'end'; moment: Moment };

/** Of an agent's end: before the next sweep, before what ended is kept, or before it is released. */
type Moment = 'between' | 'keep' | 'release';

const traffic = fc.record({
  kind: fc.constant('traffic' as const),
  pair: fc.nat(5),
  status: fc.constantFrom(200, 500, undefined),
  count: fc.nat(9),
});
const leave = fc.record({ kind: fc.constant('leave' as const), pair: fc.nat(5) });
const wait = fc.record({ kind: fc.constant('wait' as const), milliseconds: fc.constantFrom(1, FOLD_AFTER) });
const rename = fc.record({
  kind: fc.constant('rename' as const),
  pair: fc.nat(5),
  name: fc.constantFrom('unknown', 'a', 'b'),
});
const end = fc.record({
  kind: fc.constant('end' as const),
  moment: fc.constantFrom('between' as const, 'keep' as const, 'release' as const),
});

/** Looks at the pages that one agent after the other makes of a world. */
class Watch {
  readonly #dialect: Dialect;
  readonly #world: World;
  #agent: Attribution;
  #before: ReadonlyMap<string, number> = new Map();

  constructor(dialect: Dialect, world: World) {
    this.#dialect = dialect;
    this.#world = world;
    this.#agent = this.#start();
  }

  #start(): Attribution {
    const world = this.#world;
    return new Attribution({ sources: [world], foldAfter: FOLD_AFTER, clock: () => world.now });
  }

  restart(): void {
    if (this.#world.end !== 'between') {
      try {
        this.#settle();
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
      }
    }
    this.#world.end = undefined;
    this.#agent = this.#start();
  }

  #settle() {
    const limits = { requests: 12, connections: 5, lookups: 5 };
    return this.#agent.settle([resolve(this.#world.sweep(), this.#world.identify)], limits);
  }

  look(): void {
    const found = this.#dialect.families(this.#settle());
    const now = flat(found);
    // What is not there does not go backwards, and begins at 0 when it comes back.
    for (const [key, value] of this.#before)
      expect(now.get(key) ?? Number.POSITIVE_INFINITY, key).toBeGreaterThanOrEqual(value);
    this.#before = now;
    // Nothing is lost and nothing is counted twice: the names do not change the sum.
    const nobody = () => ({ source: UNKNOWN, destination: UNKNOWN });
    const unnamed = this.#dialect.families(resolve(this.#world.truth(), nobody));
    expect(totals(found)).toEqual(totals(unnamed));
  }
}

class Killed extends Error {}

/** One stay of a pair with its receiver. */
interface Stay {
  readonly pair: Pair;
  readonly life: object;
  readonly requests: Map<number | undefined, { count: number; life: object }>;
  opened: number;
  /** Kinds of its other rows. */
  readonly shown: Set<string>;
  readonly lookups: object;
  over: string | undefined;
}

/** Six pairs under few names, which change. Pairs leave, and come back as others that begin at 0. */
class World implements Source {
  now = 0;
  /** When the agent is killed in the next sweep, if it is. */
  end: Moment | undefined;
  readonly #names = Array.from({ length: 6 }, () => 'unknown');
  readonly #stays: Stay[][] = this.#names.map(() => []);
  readonly #truth = this.#names.map(() => ({ requests: new Map<number | undefined, number>(), opened: 0 }));
  readonly #memory = new Map<string, Uint8Array>();
  #ended = 0;

  readonly memory: Memory = {
    keep: (name, bytes) => {
      if (this.end === 'keep') throw new Killed();
      this.#memory.set(name, bytes);
    },
    kept: (name) => this.#memory.get(name),
  };

  release(tokens: ReadonlySet<string>): void {
    if (this.end === 'release') throw new Killed();
    for (const stays of this.#stays) {
      for (const stay of [...stays]) {
        for (const status of stay.requests.keys())
          if (tokens.has(`${stay.over} ${status}`)) stay.requests.delete(status);
        for (const kind of ['tcp', 'dns']) if (tokens.has(`${stay.over} ${kind}`)) stay.shown.delete(kind);
        if (stay.shown.size + stay.requests.size === 0) stays.splice(stays.indexOf(stay), 1);
      }
    }
  }

  readonly identify: Identify = (pair) => {
    const other = identity(this.#names[pair.port]!);
    const own = identity('own');
    return pair.role === 'client' ? { source: own, destination: other } : { source: other, destination: own };
  };

  take(step: Step): void {
    if (step.kind === 'rename') this.#names[step.pair] = step.name;
    else if (step.kind === 'wait') this.now += step.milliseconds;
    else if (step.kind === 'end') this.end = step.moment;
    else if (step.kind === 'leave') {
      const stay = this.#stays[step.pair]!.find(({ over }) => over === undefined);
      if (stay) stay.over = String(this.#ended++);
    } else this.#count(step);
  }

  #count({ pair: number, status, count }: Step & { kind: 'traffic' }): void {
    const stays = this.#stays[number]!;
    let stay = stays.find(({ over }) => over === undefined);
    if (!stay) {
      const own = { kind: 'cgroup' as const, cgroup: 1n };
      // The port tells which one it is.
      const it = pair(number < 3 ? 'client' : 'server', own, { kind: 'world' }, number);
      const rows = { shown: new Set(['tcp', 'dns']), lookups: {} };
      stay = { pair: it, life: {}, requests: new Map(), opened: 0, over: undefined, ...rows };
      stays.push(stay);
    }
    const truth = this.#truth[number]!;
    stay.opened++;
    truth.opened++;
    const requests = stay.requests.get(status) ?? { count: 0, life: {} };
    stay.requests.set(status, { ...requests, count: requests.count + count });
    truth.requests.set(status, (truth.requests.get(status) ?? 0) + count);
  }

  /** What a receiver shows. */
  sweep(): Counts {
    const stays = this.#stays.flat();
    const ending = (over: string | undefined, of: string) =>
      over === undefined ? {} : { ending: { token: `${over} ${of}`, final: true } };
    return counts({
      http: stays.flatMap(({ pair, requests, over }) =>
        [...requests].map(([status, { count, life }]) =>
          http(pair, { ...exchanges(status, count), life, ...ending(over, String(status)) }),
        ),
      ),
      tcp: stays.flatMap(({ pair, opened, life, over, shown }) =>
        shown.has('tcp') ? [tcp(pair, { opened, life, ...ending(over, 'tcp') })] : [],
      ),
      dns: stays.flatMap(({ pair, opened, lookups: life, over, shown }) =>
        shown.has('dns') ? [dns(pair, { ...lookups(opened), life, ...ending(over, 'dns') })] : [],
      ),
    });
  }

  truth(): Counts {
    const pairs = this.#truth.map((_, i) => pair(i < 3 ? 'client' : 'server', named('x'), named('y'), i));
    return counts({
      http: this.#truth.flatMap(({ requests }, i) =>
        [...requests].map(([status, count]) => http(pairs[i]!, exchanges(status, count))),
      ),
      tcp: this.#truth.flatMap(({ opened }, i) => (opened > 0 ? [tcp(pairs[i]!, { opened })] : [])),
      dns: this.#truth.flatMap(({ opened }, i) => (opened > 0 ? [dns(pairs[i]!, lookups(opened))] : [])),
    });
  }
}

/** All in one row, as no receiver has them. */
function lookups(count: number): Partial<DnsCounts> {
  const duration = histogram(Array.from({ length: count }, () => 0.25));
  return { code: 3, queries: count, unanswered: count, records: { SOA: 2 * count }, duration };
}

function exchanges(status: number | undefined, count: number): Partial<HttpCounts> {
  const observed = histogram(Array.from({ length: count }, () => 0.25));
  if (status !== undefined) return { status, duration: observed, firstByte: observed };
  return { status, failure: 'reset', duration: observed };
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
