import { describe, expect, it } from 'vitest';
import { Attribution, type AttributionOptions, DEFAULT_KEPT } from '../../../src/metrics/attribution.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { resolve } from '../../../src/metrics/model.js';
import type { Pair } from '../../../src/receivers/counts.js';
import type { Memory } from '../../../src/receivers/receiver.js';
import { counts, histogram, http, identity, pair } from '../../support/counts.js';

const address = (last: number) => ({ kind: 'address' as const, address: `10.0.0.${last}` });
const client = (last: number): Pair => pair('client', { kind: 'cgroup', cgroup: 1n }, address(last));
const [x, y] = [client(1), client(2)];

interface Shown {
  pair: Pair;
  count: number;
  name: string;
  /** @default 200 */
  status?: number;
  life?: object;
  /** The token of a life that is over. */
  over?: string;
}

const shown = (pair: Pair, count: number, name: string, more: Partial<Shown> = {}): Shown => ({
  pair,
  count,
  name,
  ...more,
});

/** Requests by destination, after one sweep with these counts and names; under `retired` what has no name any more. */
function sweeper(options: AttributionOptions & { limit?: number } = {}) {
  const attribution = new Attribution(options);
  return (rows: readonly Shown[]): Record<string, number> => {
    const sweep = counts({
      http: rows.map(({ pair, count, status = 200, life, over }) =>
        http(pair, {
          status,
          duration: histogram(Array(count).fill(0.25)),
          ...(life && { life }),
          ...(over !== undefined && { ending: { token: over, final: true } }),
        }),
      ),
    });
    const names = new Map(rows.map(({ pair, name }) => [pair, identity(name)]));
    const identify = (pair: Pair) => ({ source: identity('me'), destination: names.get(pair)! });
    const limits = { ...DEFAULT_KEPT, ...(options.limit !== undefined && { requests: options.limit }) };
    const [family] = otel().families(attribution.settle([resolve(sweep, identify)], limits));
    const sums: Record<string, number> = {};
    for (const point of family?.points ?? []) {
      const name = String(
        point.attributes['destination.service'] ?? (point.attributes['meshtap.retired'] && 'retired'),
      );
      sums[name] = (sums[name] ?? 0) + ('count' in point ? point.count : 0);
    }
    return sums;
  };
}

it('leaves to the unknown what was reported before the name was known', () => {
  const sweep = sweeper();
  expect(sweep([shown(x, 10, 'unknown'), shown(y, 1_000_000, 'unknown')])).toEqual({ unknown: 1_000_010 });
  // Leaving with its history would read as a restart of the counter: a million requests more in every rate.
  expect(sweep([shown(x, 10, 'details'), shown(y, 1_000_000, 'unknown')])).toEqual({
    unknown: 1_000_010,
    details: 0,
  });
  expect(sweep([shown(x, 15, 'details'), shown(y, 1_000_001, 'unknown')])).toEqual({
    unknown: 1_000_011,
    details: 5,
  });
});

it('gives the next owner of an address nothing of the last one’s', () => {
  const sweep = sweeper();
  sweep([shown(x, 10, 'details')]);
  expect(sweep([shown(x, 12, 'unknown')])).toEqual({ details: 10, unknown: 2 });
  expect(sweep([shown(x, 20, 'reviews')])).toEqual({ details: 10, unknown: 2, reviews: 8 });
  expect(sweep([shown(x, 21, 'details')])).toEqual({ details: 11, unknown: 2, reviews: 8 });
});

describe('a life that is over', () => {
  it('is reported on, and its receiver is told that it is kept', () => {
    const released: string[] = [];
    const sweep = sweeper({ sources: [{ release: (tokens) => void released.push(...tokens) }] });
    sweep([shown(x, 10, 'details'), shown(y, 5, 'details')]);
    expect(sweep([shown(x, 10, 'details', { over: 'one' }), shown(y, 6, 'details')])).toEqual({
      details: 16,
    });
    expect(released).toEqual(['one']);
    expect(sweep([shown(y, 6, 'details')])).toEqual({ details: 16 });
    // The same number of requests, and fewer, and more: it does not matter how many the last life had.
    expect(sweep([shown({ ...x }, 10, 'details'), shown(y, 6, 'details')])).toEqual({ details: 26 });
  });

  it('and the next one of the same series are told apart, while both are there too', () => {
    const sweep = sweeper();
    const [first, second] = [{}, {}];
    sweep([shown(x, 10, 'details', { life: first })]);
    expect(
      sweep([
        shown(x, 10, 'details', { life: first, over: 'one' }),
        shown(x, 10, 'details', { life: second }),
      ]),
    ).toEqual({ details: 20 });
    expect(sweep([shown(x, 11, 'details', { life: second })])).toEqual({ details: 21 });
  });

  it('leaves each name what was counted under it', () => {
    const sweep = sweeper();
    sweep([shown(x, 10, 'unknown')]);
    sweep([shown(x, 12, 'details')]);
    expect(sweep([shown(x, 13, 'details', { over: 'one' })])).toEqual({ unknown: 10, details: 3 });
    expect(sweep([])).toEqual({ unknown: 10, details: 3 });
  });
});

describe('a name that nobody has', () => {
  const clock = { now: 0 };
  const options = { foldAfter: 1000, clock: () => clock.now };

  it('is folded after a while, and begins at 0 if it comes back', () => {
    const sweep = sweeper(options);
    sweep([shown(x, 10, 'details', { over: 'one' }), shown(y, 3, 'reviews')]);
    expect(sweep([shown(y, 3, 'reviews')])).toEqual({ details: 10, reviews: 3 });
    clock.now += 999;
    expect(sweep([shown(y, 3, 'reviews')])).toEqual({ details: 10, reviews: 3 });
    clock.now += 1;
    expect(sweep([shown(y, 3, 'reviews')])).toEqual({ retired: 10, reviews: 3 });
    expect(sweep([shown({ ...x }, 1, 'details'), shown(y, 3, 'reviews')])).toEqual({
      retired: 10,
      details: 1,
      reviews: 3,
    });
  });

  it('is not folded as long as another pair has it, or had it and goes on', () => {
    const sweep = sweeper(options);
    sweep([shown(x, 10, 'details', { over: 'one' }), shown(y, 3, 'details')]);
    clock.now += 5000;
    expect(sweep([shown(y, 3, 'details')])).toEqual({ details: 13 });
    clock.now += 5000;
    expect(sweep([shown(y, 4, 'reviews')])).toEqual({ details: 13, reviews: 1 });
  });

  it('makes room for what ends later; where all names live, that stays with its receiver', () => {
    const released: string[] = [];
    const sources = [{ release: (tokens: ReadonlySet<string>) => void released.push(...tokens) }];
    const sweep = sweeper({ ...options, sources, limit: 2 });
    sweep([shown(client(1), 1, 'a', { over: '1' }), shown(client(2), 1, 'b', { over: '2' })]);
    sweep([]);
    expect(sweep([shown(client(3), 1, 'c', { over: '3' })])).toEqual({ retired: 1, b: 1, c: 1 });
    expect(released).toEqual(['1', '2', '3']);

    const live = { pair: client(4), count: 1, name: 'd', life: {} };
    const statuses = [300, 301, 302].map((status) => ({ status, life: {}, over: String(status) }));
    const ending = statuses.map((more) => shown(live.pair, 1, 'd', more));
    sweep([live]);
    // Nothing of `d` may be folded: points of it that know no status would go backwards.
    expect(sweep([live, ...ending])).toEqual({ retired: 3, d: 4 });
    expect(released).toEqual(['1', '2', '3', '300', '301']);
    expect(sweep([live, ending[2]!])).toEqual({ retired: 3, d: 4 });
    expect(released).toEqual(['1', '2', '3', '300', '301']);
    // When the last one of it ends, all of it may.
    expect(sweep([{ ...live, over: 'last' }, ending[2]!])).toEqual({ retired: 7 });
    expect(released).toEqual(['1', '2', '3', '300', '301', 'last', '302']);
  });
});

describe('the memory of a receiver', () => {
  function memory(): Memory & { fails: boolean } {
    const kept = new Map<string, Uint8Array>();
    const own = {
      fails: false,
      keep(name: string, bytes: Uint8Array) {
        if (own.fails) throw new Error('no room');
        kept.set(name, bytes);
      },
      kept: (name: string) => kept.get(name),
    };
    return own;
  }

  it('has what ended for the next process, under its names, and what has none', () => {
    const clock = { now: 0 };
    const options = { foldAfter: 1000, clock: () => clock.now, sources: [{ memory: memory() }] };
    const first = sweeper(options);
    first([shown(x, 1, 'unknown'), shown(y, 7, 'reviews')]);
    first([shown(x, 3, 'details', { over: 'one' }), shown(y, 7, 'reviews', { over: 'two' })]);
    clock.now += 1000;
    first([]);
    clock.now += 1000;
    expect(first([])).toEqual({ retired: 10 });
    first([shown(client(3), 5, 'ratings', { over: 'three' })]);

    expect(sweeper(options)([])).toEqual({ retired: 10, ratings: 5 });
  });

  it('comes before the release: an end half way counts once', () => {
    const sources = [{ memory: memory() }];
    const life = shown(x, 3, 'details', { over: 'one' });
    sweeper({ sources })([life]);
    // Its receiver was not told, and shows it still.
    const second = sweeper({ sources });
    expect(second([life])).toEqual({ details: 3 });
    expect(second([])).toEqual({ details: 3 });
  });

  it('that can not be written to keeps nothing from its receiver', () => {
    const released: string[] = [];
    const own = memory();
    const sources = [
      { memory: own, release: (tokens: ReadonlySet<string>) => void released.push(...tokens) },
    ];
    const sweep = sweeper({ sources });
    own.fails = true;
    const life = shown(x, 3, 'details', { over: 'one' });
    expect(() => sweep([life])).toThrow('no room');
    expect(released).toEqual([]);
    own.fails = false;
    expect(sweep([life])).toEqual({ details: 3 });
    expect(released).toEqual(['one']);
    expect(sweeper({ sources })([])).toEqual({ details: 3 });
  });
});
