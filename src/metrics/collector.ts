import { setImmediate } from 'node:timers/promises';
import type { Counts } from '../receivers/counts.js';
import { Attribution, DEFAULT_KEPT, type KeptLimits, type Source } from './attribution.js';
import type { Dialect } from './dialects/dialect.js';
import { Durations } from './durations.js';
import type { MetricFamily } from './family.js';
import { type Identify, resolve, type Snapshot } from './model.js';
import { ledger } from './self.js';

/** Where counts come from, and what is told of them. */
export interface CountsSource extends Source {
  collect(): Promise<Counts>;
}

export interface CollectorOptions {
  /** All sources of counts, the same ones each time. Throws as long as they have not all started. */
  sources(): readonly CountsSource[];
  identify: Identify;
  dialects: readonly Dialect[];
  /** Milliseconds after which a name that nobody has any more is folded. @default 3600000, an hour */
  foldAfter?: number | undefined;
  /** Families about meshtap itself, asked at each collection. @default none */
  self?(): readonly MetricFamily[];
}

/** One sweep over all sources. */
export interface Sweep {
  readonly counts: Pick<Counts, 'startedAt' | 'ledger' | 'budgets'>;
  /** Everything counted since the beginning, named. */
  readonly snapshot: Snapshot;
}

export interface Collector {
  /**
   * All families of all dialects, each name once, from a sweep that began after this call.
   * Calls made while a collection runs share the one that follows. Rejects if the sweep failed.
   */
  collect(): Promise<readonly MetricFamily[]>;
  /** The same before it becomes metrics. */
  sweep(): Promise<Sweep>;
  /** What was counted before this call keeps the names it has now. Rejects if the sweep failed. */
  settle(): Promise<void>;
}

/** From counts to families: the middle of meshtap. */
export function createCollector({
  sources,
  identify,
  dialects,
  foldAfter,
  self = () => [],
}: CollectorOptions): Collector {
  const durations = new Durations(
    'meshtap.collection.duration',
    'Sweeping the counts and naming them.',
    ['success', 'failure'].map((outcome) => ({ outcome })),
  );
  let attribution: Attribution | undefined;
  const sweep = shared(async (): Promise<Sweep> => {
    const all = sources();
    const counts = await Promise.all(all.map((source) => source.collect()));
    attribution ??= new Attribution({ sources: all, ...(foldAfter !== undefined && { foldAfter }) });
    const budgets = sumByName(counts.flatMap(({ budgets }) => budgets));
    const limits = keptLimits(budgets);
    const snapshot = attribution.settle(
      counts.map((one) => resolve(one, identify)),
      limits,
    );
    const { kept } = attribution;
    return {
      snapshot,
      counts: {
        startedAt: snapshot.startedAt,
        ledger: counts.flatMap(({ ledger }) => ledger),
        budgets: [
          ...budgets,
          { name: 'ended_series', used: kept.requests, limit: limits.requests },
          { name: 'ended_pairs', used: kept.connections, limit: limits.connections },
          { name: 'ended_lookups', used: kept.lookups, limit: limits.lookups },
        ],
      },
    };
  });
  const collect = async () => {
    const start = performance.now();
    const done = (outcome: string) => durations.observe((performance.now() - start) / 1000, { outcome });
    try {
      const { counts, snapshot } = await sweep();
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
  return { collect: shared(collect), sweep, settle: async () => void (await sweep()) };
}

/** As many rows may be kept that ended as there may be others. */
function keptLimits(budgets: Counts['budgets']): KeptLimits {
  const limitOf = (name: string) => budgets.find((budget) => budget.name === name)?.limit;
  return {
    requests: limitOf('series') ?? DEFAULT_KEPT.requests,
    connections: limitOf('pairs') ?? DEFAULT_KEPT.connections,
    lookups: limitOf('lookups') ?? DEFAULT_KEPT.lookups,
  };
}

function sumByName(budgets: Counts['budgets']): Counts['budgets'] {
  const sums = new Map<string, Counts['budgets'][number]>();
  for (const { name, used, limit } of budgets) {
    const sum = sums.get(name) ?? { name, used: 0, limit: 0 };
    sums.set(name, { name, used: sum.used + used, limit: sum.limit + limit });
  }
  return [...sums.values()];
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
