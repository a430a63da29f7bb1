import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MeshtapError } from '../../src/errors.js';
import { HTTP } from '../../src/metrics/arithmetic.js';
import type { Counts, HistogramCounts } from '../../src/receivers/counts.js';
import type { Receiver, RunningReceiver } from '../../src/receivers/receiver.js';

export interface ReceiverCase {
  /** A fresh receiver that has not been started. */
  create(): Receiver;
  /** Lets a started receiver count something, the same pairs and series each time. */
  traffic(): Promise<void>;
}

const BOUNDARIES = [0.001, 0.1, 10];

const context = (signal = new AbortController().signal) => ({
  log: pino({ level: 'silent' }),
  boundaries: BOUNDARIES,
  signal,
});

const histograms = ({ tcp, http }: Counts): HistogramCounts[] => [
  ...tcp.flatMap(({ connect, rtt }) => [connect, rtt]),
  ...http.flatMap(({ duration, firstByte }) => [duration, firstByte]),
];

/** Run by the tests of every receiver. */
export function testReceiver(name: string, { create, traffic }: ReceiverCase): void {
  describe(`${name} keeps the contract of a receiver`, () => {
    let receiver: RunningReceiver;
    beforeAll(async () => {
      receiver = await create().start(context());
    });
    afterAll(() => receiver?.[Symbol.asyncDispose]());

    test('is named by one word, its file', () => {
      expect(create().name).toBe(name);
    });

    test('does not start when it is told to stop before', async () => {
      await expect(create().start(context(AbortSignal.abort()))).rejects.toThrow();
    });

    test('counts with the boundaries it was given, per bucket', async () => {
      await traffic();
      const before = Date.now();
      const counts = await receiver.collect();
      expect(counts.boundaries).toEqual(BOUNDARIES);
      expect(counts.at).toBeGreaterThanOrEqual(before);
      expect(counts.startedAt).toBeLessThanOrEqual(counts.at);
      expect(counts.tcp.length + counts.http.length).toBeGreaterThan(0);
      for (const { buckets, count } of histograms(counts)) {
        expect(buckets).toHaveLength(BOUNDARIES.length + 1);
        expect(buckets.reduce((sum, bucket) => sum + bucket, 0)).toBe(count);
      }
    });

    test('gives the same pair as the same object, and counters that only grow', async () => {
      await traffic();
      const first = await receiver.collect();
      await traffic();
      const second = await receiver.collect();
      expect(second.startedAt).toBe(first.startedAt);
      const pairs = new Set([...second.tcp, ...second.http].map(({ pair }) => pair));
      for (const { pair } of [...first.tcp, ...first.http]) expect(pairs).toContain(pair);
      for (const before of first.tcp) {
        const after = second.tcp.find(({ pair }) => pair === before.pair)!;
        expect(after.bytesSent).toBeGreaterThanOrEqual(before.bytesSent);
        expect(after.opened).toBeGreaterThanOrEqual(before.opened);
      }
      for (const before of first.http) {
        const after = second.http.find(
          (row) => HTTP.series(row) === HTTP.series(before) && row.pair === before.pair,
        )!;
        expect(after.duration.count).toBeGreaterThanOrEqual(before.duration.count);
      }
    });

    test('makes one sweep for those who ask at the same time', async () => {
      const [one, other] = await Promise.all([receiver.collect(), receiver.collect()]);
      expect(one).toBe(other);
      expect(await receiver.collect()).not.toBe(one);
    });

    test('leaves alone what it gave away', async () => {
      await traffic();
      const counts = await receiver.collect();
      const copy = structuredClone(counts);
      await traffic();
      await receiver.collect();
      expect(counts).toEqual(copy);
    });

    test('says that it runs', () => {
      expect(receiver.status().state).toBe('running');
    });

    test('can be closed while it sweeps, and again; then it counts no more', async () => {
      const other = await create().start(context());
      const sweep = other.collect();
      await other[Symbol.asyncDispose]();
      await expect(sweep).resolves.toBeDefined();
      await other[Symbol.asyncDispose]();
      await expect(other.collect()).rejects.toBeInstanceOf(MeshtapError);
    });
  });
}
