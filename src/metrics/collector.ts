import { setImmediate } from 'node:timers/promises';
import type { Counts } from '../receivers/counts.js';
import { Attribution } from './attribution.js';
import type { Dialect } from './dialects/dialect.js';
import { Durations } from './durations.js';
import type { MetricFamily } from './family.js';
import { type Identify, resolve } from './model.js';
import { ledger } from './self.js';

export interface CollectorOptions {
  /** One sweep over all counts. */
  sweep(): Promise<Counts>;
  identify: Identify;
  dialects: readonly Dialect[];
  /** Families about meshtap itself, asked at each collection. @default none */
  self?(): readonly MetricFamily[];
}

export interface Collector {
  /**
   * All families of all dialects, each name once, from a sweep that began after this call.
   * Calls made while a collection runs share the one that follows. Rejects if the sweep failed.
   */
  collect(): Promise<readonly MetricFamily[]>;
  /** What was counted before this call keeps the names it has now. Rejects if the sweep failed. */
  settle(): Promise<void>;
}

/** From counts to families: the middle of meshtap. */
export function createCollector({ sweep, identify, dialects, self = () => [] }: CollectorOptions): Collector {
  const durations = new Durations(
    'meshtap.collection.duration',
    'Sweeping the counts and naming them.',
    ['success', 'failure'].map((outcome) => ({ outcome })),
  );
  const attribution = new Attribution();
  // One after the other: what was counted first is told first.
  const settled = shared(async () => {
    const counts = await sweep();
    return { counts, snapshot: attribution.settle(resolve(counts, identify)) };
  });
  const run = async () => {
    const start = performance.now();
    const done = (outcome: string) => durations.observe((performance.now() - start) / 1000, { outcome });
    try {
      const { counts, snapshot } = await settled();
      const families: MetricFamily[] = [];
      for (const dialect of dialects) {
        // Naming thousands of series takes milliseconds, and so does each dialect; others get their turn in between.
        await setImmediate();
        families.push(...dialect.families(snapshot));
      }
      families.push(...ledger(counts));
      done('success');
      return merged([...families, durations.family(), ...self()]);
    } catch (error) {
      done('failure');
      throw error;
    }
  };
  return { collect: shared(run), settle: async () => void (await settled()) };
}

/**
 * Runs one at a time. Whoever calls while one is running waits for the next, together with everybody else who does:
 * what it returns is never older than the call, and a crowd costs two runs.
 */
export function shared<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | undefined;
  return () => {
    next ??= running.then(() => {
      next = undefined;
      const result = run();
      running = result.catch(() => undefined);
      return result;
    });
    return next;
  };
}

/** One family per name: exporters of one kind describe themselves under one name, each with its own attributes. */
function merged(families: readonly MetricFamily[]): MetricFamily[] {
  const byName = new Map<string, MetricFamily>();
  for (const family of families) {
    const first = byName.get(family.name);
    const both = first && ({ ...first, points: [...first.points, ...family.points] } as MetricFamily);
    byName.set(family.name, both ?? family);
  }
  return [...byName.values()];
}
