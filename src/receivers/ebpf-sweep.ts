import { setImmediate } from 'node:timers/promises';
import { type CountingOptions, FIRST_INDEX, type Footprint, type MapName } from '../bpf/counting.js';
import type { Instance } from '../bpf/instance.js';
import { finalTotals, ledgerTotals } from '../bpf/ledger.js';
import type { BpfMap } from '../bpf/map.js';
import { MeshtapError } from '../errors.js';
import type { ServiceRoutes } from '../routes/services.js';
import type { Counts, LedgerLine } from './counts.js';
import {
  decodePair,
  decodeSeries,
  httpCounts,
  type IdsOf,
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
import {
  type DnsLabel,
  DnsNames,
  decodeDns,
  dnsActivity,
  dnsCounts,
  dnsPairIndexOf,
  giveUpQueries,
  overflowDns,
} from './ebpf-dns.js';
import { Entries, type EntryMaps, Epoch } from './ebpf-entries.js';
import { RpcMethods } from './ebpf-methods.js';
import { PrefixTable } from './ebpf-prefixes.js';
import { RouteIds } from './ebpf-route-ids.js';
import { RouteTables, type ServerOf } from './ebpf-routes.js';
import { KernelWatch, type KernelWatchOptions } from './ebpf-watch.js';
import type { Memory, Prefix, ReceiverStatus, RunningReceiver } from './receiver.js';
import { TlsWatcher } from './tls/watcher.js';

export interface SweepOptions extends CountingOptions {
  /** When an entry without traffic makes room for others, milliseconds. */
  readonly idleAfter: number;
  /** What the maps take, for the status. */
  readonly footprint: Footprint;
  /** What reads inside TLS, which ends with the sweeper, or why nothing does. Absent if nobody asked for it. */
  readonly insideTls?: TlsWatcher | MeshtapError | undefined;
  /** For whom single requests are. Absent where there is nobody. */
  readonly watch?: Pick<KernelWatchOptions, 'sink' | 'nameEnds' | 'rate' | 'log'> | undefined;
}

const NANOSECONDS = 1e9;
/** How often new servers are looked for, if which routes they have is of importance, milliseconds. */
const TELL_EVERY = 500;
/** How often names are read, between two sweeps, because a flow has one that is not known. */
const A_SECOND = 1000;

/** Reads the maps of an instance when it is asked, and makes room in them. */
export class Sweeper implements RunningReceiver {
  readonly #instance: Instance;
  readonly #options: SweepOptions;
  readonly #boundaries: readonly number[];
  readonly #pairs: Entries<PairLabel>;
  readonly #series: Entries<SeriesLabel>;
  readonly #lookups: Entries<DnsLabel>;
  readonly #names: DnsNames;
  readonly #methods: RpcMethods;
  readonly #prefixes: PrefixTable;
  readonly #routeIds: RouteIds;
  readonly #routes: RouteTables;
  #telling: NodeJS.Timeout | undefined;
  readonly #watch: KernelWatch | undefined;
  /** Whether a former process may have left something half done. */
  #recovering: boolean;
  #sweep: Promise<Counts> | undefined;
  #lastLedger: readonly LedgerLine[] = [];
  #failure: string | undefined;
  #open = true;

  constructor(instance: Instance, options: SweepOptions) {
    this.#instance = instance;
    this.#options = options;
    this.#boundaries = options.boundaries.map((bound) => Number(bound) / NANOSECONDS);
    const { stripes, idleAfter } = options;
    const epoch = new Epoch(this.#map('control'));
    this.#names = new DnsNames(this.#map('dns_names'), this.#map('free_names'), this.#map('named'));
    this.#pairs = new Entries({
      maps: this.#entryMaps('pairs', 'pair_values', 'free_pairs'),
      overflow: OVERFLOW_PAIRS,
      identify: (key) => decodePair(key, (name, other) => this.#names.of(name, other)),
      activity: pairActivity,
      ...{ stripes, epoch, idleAfter, memory: instance.memory },
    });
    this.#methods = new RpcMethods(this.#map('rpc_methods'));
    this.#routeIds = new RouteIds(instance.memory);
    this.#series = new Entries({
      maps: this.#entryMaps('http_series', 'http_values', 'free_series'),
      overflow: OVERFLOW_PAIRS.map(overflowSeries),
      identify: (key) => {
        const pair = this.#pairs.labelOf(pairIndexOf(key));
        return pair && decodeSeries(key, pair, this.#idsOf);
      },
      activity: seriesActivity,
      ...{ stripes, epoch, idleAfter, memory: instance.memory },
    });
    this.#lookups = new Entries({
      maps: this.#entryMaps('dns_series', 'dns_values', 'free_dns_series'),
      overflow: OVERFLOW_PAIRS.map(overflowDns),
      identify: (key) => {
        const pair = this.#pairs.labelOf(dnsPairIndexOf(key));
        return pair && decodeDns(key, pair);
      },
      activity: dnsActivity,
      // One more is user space's.
      ...{ stripes: stripes + 1, epoch, idleAfter, memory: instance.memory },
    });
    this.#prefixes = new PrefixTable(this.#map('prefixes'), epoch);
    this.#routes = new RouteTables(
      {
        routing: this.#map('routing'),
        tables: this.#map('route_tables'),
        pages: this.#map('route_pages'),
        scopes: this.#map('route_scopes'),
        huffman: this.#map('huffman_code'),
      },
      this.#routeIds,
      epoch,
    );
    this.#recovering = instance.resumed;
    if (instance.resumed) epoch.advance();
    this.#watch = options.watch && new KernelWatch({ ...options.watch, ...this.#flowSources() });
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

  get memory(): Memory | undefined {
    return this.#instance.memory;
  }

  release(tokens: ReadonlySet<string>): void {
    if (!this.#open) return;
    this.#series.slots.release(tokens);
    this.#lookups.slots.release(tokens);
    this.#pairs.slots.release(tokens);
  }

  setPrefixes(prefixes: readonly Prefix[]): void {
    this.#prefixes.set(prefixes);
  }

  async setRoutes(routes: readonly ServiceRoutes[], serverOf: ServerOf): Promise<void> {
    await this.#routes.set(routes, serverOf, () => {
      this.#series.see(this.#series.readKeys());
      return new Set(this.#series.slots.labels().flatMap(({ route }) => route ?? []));
    });
    if (!this.#open) return;
    this.#tell();
    clearInterval(this.#telling);
    if (this.#routes.differ) this.#telling = setInterval(() => this.#tell(), TELL_EVERY).unref();
  }

  status(): ReceiverStatus {
    if (this.#failure !== undefined) return { state: 'failed', reason: this.#failure };
    const { cgroup, startedAt } = this.#instance;
    const { footprint, insideTls } = this.#options;
    const detail = {
      cgroup: cgroup.path,
      'counting since': new Date(startedAt).toISOString(),
      'bytes of maps': footprint.total,
      'bytes per connection': footprint.perConnection.connections!,
      'bytes per connection at most': Object.values(footprint.perConnection).reduce((sum, n) => sum + n, 0),
      ...(insideTls instanceof TlsWatcher && insideTls.status()),
    };
    const spent = this.#lastLedger
      .filter(({ outcome, count }) => outcome === 'overflowed' && count > 0)
      .map(({ subject }) => subject);
    const reasons = [
      ...(spent.length > 0 ? [`the limit of ${[...new Set(spent)].join(' and ')} was reached`] : []),
      ...(insideTls instanceof MeshtapError ? [`inside TLS nothing is read: ${insideTls.message}`] : []),
    ];
    return reasons.length === 0
      ? { state: 'running', detail }
      : { state: 'degraded', reason: reasons.join('; '), detail };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { insideTls } = this.#options;
    this.#open = false;
    clearInterval(this.#telling);
    await this.#watch?.[Symbol.asyncDispose]();
    await this.#sweep?.catch(() => {}); // whoever asked for it is told
    if (insideTls instanceof TlsWatcher) await insideTls[Symbol.asyncDispose]();
    this.#instance.close();
  }

  async #read(): Promise<Counts> {
    if (!this.#open) throw new MeshtapError('BPF_FAILED', 'the ebpf receiver is closed');
    giveUpQueries(
      {
        pending: this.#map('dns_pending'),
        pairs: this.#map('pairs'),
        series: this.#map('dns_series'),
        values: this.#map('dns_values'),
      },
      this.#options.stripes,
    );
    // A series is made after its pair, and that after its name, so whoever reads series first finds all of each.
    const lookupKeys = this.#lookups.readKeys();
    const seriesKeys = this.#series.readKeys();
    const pairKeys = this.#pairs.readKeys();
    this.#names.read();
    this.#pairs.see(pairKeys);
    const pairsRecovered = !this.#recovering || this.#pairs.recover();
    this.#series.see(seriesKeys);
    this.#lookups.see(lookupKeys);
    if (this.#recovering) {
      const recovered = [this.#series.recover(), this.#lookups.recover(), pairsRecovered];
      this.#recovering = recovered.includes(false);
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
    this.#lookups.readValues();
    const lookups = this.#lookups.rows();
    await setImmediate();

    this.#series.slots.retire();
    this.#lookups.slots.retire();
    const referred = new Set(
      [...this.#series.slots.labels(), ...this.#lookups.slots.labels()].map(({ pairIndex }) => pairIndex),
    );
    this.#pairs.slots.retire((index) => referred.has(index));
    this.#names.retire(this.#pairs.slots.labels().map(({ pair }) => pair.remote));

    const { limits } = this.#options;
    const { length } = this.#boundaries;
    return {
      startedAt: this.#instance.startedAt,
      at,
      boundaries: this.#boundaries,
      tcp: pairs.map((row) => tcpCounts(row, length)),
      http: exchanges.map((row) => httpCounts(row, length)),
      dns: lookups.map((row) => dnsCounts(row, length)),
      ledger: [...ledgerLines(ledger), ...(this.#watch?.ledger() ?? [])],
      budgets: [
        { name: 'pairs', used: this.#pairs.slots.used, limit: limits.pairs - FIRST_INDEX },
        { name: 'series', used: this.#series.slots.used, limit: limits.series - FIRST_INDEX },
        { name: 'lookups', used: this.#lookups.slots.used, limit: limits.lookups - FIRST_INDEX },
        { name: 'names', used: this.#names.used, limit: limits.names },
        { name: 'methods', used: this.#methods.used, limit: this.#methods.limit },
        { name: 'routes', used: this.#routeIds.used, limit: this.#routeIds.limit },
      ],
    };
  }

  readonly #idsOf: IdsOf = {
    method: (id) => this.#methods.of(id),
    route: (id) => this.#routeIds.textOf(id),
  };

  /** New pairs, and which routes their servers have. */
  #tell(): void {
    const keys = this.#pairs.readKeys();
    this.#names.read(); // a pair is made after its name
    this.#pairs.see(keys);
    this.#routes.tell(keys, (index) => this.#pairs.labelOf(index)?.pair);
  }

  #readLedger(): Float64Array {
    const all = [
      ledgerTotals(this.#map('ledgers')),
      ...this.#instance.formerLedgers.map((former) => finalTotals(former)),
    ];
    const words = new Float64Array(LEDGER_WORDS);
    for (const totals of all) for (const [i, n] of totals.entries()) words[i]! += Number(n);
    return words;
  }

  #flowSources(): Pick<KernelWatchOptions, 'maps' | 'namesOf' | 'idsOf'> {
    let readAt = Number.NEGATIVE_INFINITY;
    return {
      maps: {
        watching: this.#map('watching'),
        ring: this.#map('flow_ring'),
        counts: this.#map('flow_counts'),
        notes: this.#map('flow_notes'),
      },
      namesOf: (name, other) => {
        const known = this.#names.of(name, other);
        if (known || performance.now() - readAt < A_SECOND) return known;
        readAt = performance.now();
        this.#names.read();
        return this.#names.of(name, other);
      },
      idsOf: this.#idsOf,
    };
  }

  #entryMaps(keys: MapName, values: MapName, free: MapName): EntryMaps {
    return { keys: this.#map(keys), values: this.#map(values), free: this.#map(free) };
  }

  #map(name: MapName): BpfMap {
    return this.#instance.maps.get(name)!;
  }
}
