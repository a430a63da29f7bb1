import { setImmediate } from 'node:timers/promises';
import { type CountingOptions, FIRST_INDEX, type MapName, type Memory } from '../bpf/counting.js';
import type { Instance } from '../bpf/instance.js';
import type { BpfMap } from '../bpf/map.js';
import { MeshtapError } from '../errors.js';
import type { Counts, LedgerLine } from './counts.js';
import {
  addStripes,
  decodePair,
  decodeSeries,
  httpCounts,
  LEDGER_WORDS,
  ledgerLines,
  OVERFLOW_PAIRS,
  overflowSeries,
  type PairLabel,
  pairActivity,
  pairIndexOf,
  type SeriesLabel,
  seriesActivity,
  tcpCounts,
} from './ebpf-decode.js';
import { Entries, type EntryMaps, Epoch } from './ebpf-entries.js';
import { RpcMethods } from './ebpf-methods.js';
import { PrefixTable } from './ebpf-prefixes.js';
import type { Prefix, ReceiverStatus, RunningReceiver } from './receiver.js';

export interface SweepOptions extends CountingOptions {
  /** When an entry without traffic makes room for others, milliseconds. */
  readonly idleAfter: number;
  /** What the maps take, for the status. */
  readonly memory: Memory;
}

const NANOSECONDS = 1e9;

/** Reads the maps of an instance when it is asked, and makes room in them. */
export class Sweeper implements RunningReceiver {
  readonly #instance: Instance;
  readonly #options: SweepOptions;
  readonly #boundaries: readonly number[];
  readonly #pairs: Entries<PairLabel>;
  readonly #series: Entries<SeriesLabel>;
  readonly #methods: RpcMethods;
  readonly #prefixes: PrefixTable;
  #mayHaveOrphans: boolean;
  #sweep: Promise<Counts> | undefined;
  #lastLedger: readonly LedgerLine[] = [];
  #failure: string | undefined;
  #open = true;

  constructor(instance: Instance, options: SweepOptions) {
    this.#instance = instance;
    this.#options = options;
    this.#boundaries = options.boundaries.map((bound) => Number(bound) / NANOSECONDS);
    const { stripes, idleAfter, limits } = options;
    const epoch = new Epoch(this.#map('control'));
    this.#pairs = new Entries({
      maps: this.#entryMaps('pairs', 'pair_values', 'free_pairs'),
      overflow: OVERFLOW_PAIRS,
      identify: decodePair,
      activity: pairActivity,
      remember: limits.pairs,
      ...{ stripes, epoch, idleAfter },
    });
    this.#methods = new RpcMethods(this.#map('rpc_methods'));
    this.#series = new Entries({
      maps: this.#entryMaps('http_series', 'http_values', 'free_series'),
      overflow: OVERFLOW_PAIRS.map(overflowSeries),
      identify: (key) => {
        const pair = this.#pairs.labelOf(pairIndexOf(key));
        return pair && decodeSeries(key, pair, (id) => this.#methods.of(id));
      },
      activity: seriesActivity,
      remember: limits.series,
      ...{ stripes, epoch, idleAfter },
    });
    this.#prefixes = new PrefixTable(this.#map('prefixes'), epoch);
    this.#mayHaveOrphans = instance.resumed;
    if (instance.resumed) epoch.advance();
  }

  collect(): Promise<Counts> {
    this.#sweep ??= this.#read()
      .then(
        (counts) => {
          this.#failure = undefined;
          this.#lastLedger = counts.ledger;
          return counts;
        },
        (error: Error) => {
          this.#failure = error.message;
          throw error;
        },
      )
      .finally(() => {
        this.#sweep = undefined;
      });
    return this.#sweep;
  }

  setPrefixes(prefixes: readonly Prefix[]): void {
    this.#prefixes.set(prefixes);
  }

  status(): ReceiverStatus {
    if (this.#failure !== undefined) return { state: 'failed', reason: this.#failure };
    const { cgroup, startedAt } = this.#instance;
    const { memory } = this.#options;
    const detail = {
      cgroup: cgroup.path,
      'counting since': new Date(startedAt).toISOString(),
      'bytes of maps': memory.total,
      'bytes per connection': memory.perConnection,
    };
    const spent = this.#lastLedger
      .filter(({ outcome, count }) => outcome === 'overflowed' && count > 0)
      .map(({ subject }) => subject);
    if (spent.length === 0) return { state: 'running', detail };
    return {
      state: 'degraded',
      reason: `the limit of ${[...new Set(spent)].join(' and ')} was reached`,
      detail,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    await this.#sweep?.catch(() => {}); // whoever asked for it is told
    this.#instance.close();
  }

  async #read(): Promise<Counts> {
    if (!this.#open) throw new MeshtapError('BPF_FAILED', 'the ebpf receiver is closed');
    // A series is made after its pair, so whoever reads series first finds the pair of each.
    const seriesKeys = this.#series.readKeys();
    const pairKeys = this.#pairs.readKeys();
    this.#pairs.see(pairKeys);
    this.#series.see(seriesKeys);
    if (this.#mayHaveOrphans) {
      this.#series.adoptOrphans(seriesKeys);
      this.#pairs.adoptOrphans(pairKeys);
      this.#mayHaveOrphans = false;
    }

    const at = Date.now();
    const ledger = this.#readLedger();
    // At the limits of a large instance each of these takes milliseconds: others get their turn in between.
    this.#pairs.readValues();
    const pairs = this.#pairs.rows();
    await setImmediate();
    this.#series.readValues();
    await setImmediate();
    const exchanges = this.#series.rows();
    await setImmediate();

    this.#series.slots.retire();
    const referred = new Set(this.#series.slots.labels().map((label) => label.pairIndex));
    this.#pairs.slots.retire((index) => referred.has(index));

    const { limits } = this.#options;
    const { length } = this.#boundaries;
    return {
      startedAt: this.#instance.startedAt,
      at,
      boundaries: this.#boundaries,
      tcp: pairs.map((row) => tcpCounts(row, length)),
      http: exchanges.map((row) => httpCounts(row, length)),
      ledger: ledgerLines(ledger),
      budgets: [
        { name: 'pairs', used: this.#pairs.slots.used, limit: limits.pairs - FIRST_INDEX },
        { name: 'series', used: this.#series.slots.used, limit: limits.series - FIRST_INDEX },
        { name: 'methods', used: this.#methods.used, limit: this.#methods.limit },
      ],
    };
  }

  #readLedger(): Float64Array {
    const { values } = this.#map('ledgers').read();
    const words = new Float64Array(LEDGER_WORDS);
    const { stripes } = this.#options;
    const raw = new Uint32Array(values.buffer, values.byteOffset, values.length / 4);
    addStripes(raw, { index: 0, stripes, size: LEDGER_WORDS }, words);
    return words;
  }

  #entryMaps(keys: MapName, values: MapName, free: MapName): EntryMaps {
    return { keys: this.#map(keys), values: this.#map(values), free: this.#map(free) };
  }

  #map(name: MapName): BpfMap {
    return this.#instance.maps.get(name)!;
  }
}
