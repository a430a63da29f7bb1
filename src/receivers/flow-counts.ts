/**
 * Counts made from flows, for receivers that are given those (`hubble`, `replay`).
 *
 * An exchange is counted once from each side that reports it: at its answer, which says all of it. INGRESS is the
 * server's side, EGRESS the client's. What flows do not tell is left out and said in the ledger: connections (a flow is
 * a segment, seen here and there), bytes, time to first byte, and durations where nobody measured them.
 *
 * @module
 */
import { connectionEnds, type Flow, type FlowEnd, type FlowEvent } from '../flows/flow.js';
import { nameOf } from '../flows/names.js';
import type { Counts, Endpoint, HistogramCounts, HttpCounts, LedgerLine, Pair, Role } from './counts.js';

/** How many there may be of each; what exceeds them goes into the overflow series. */
export interface FlowLimits {
  readonly pairs: number;
  readonly series: number;
}

export const DEFAULT_FLOW_LIMITS: FlowLimits = { pairs: 2048, series: 8192 };

/** What becomes of a flow, for the ledger. */
type Outcome = 'answered' | 'request' | 'denied' | 'sideless' | 'other';
const OUTCOMES: readonly Outcome[] = ['answered', 'request', 'denied', 'sideless', 'other'];
type Side = Role | 'unknown';
const SIDES: readonly Side[] = ['client', 'server', 'unknown'];

/** A life of a series, which is written to until the process ends. */
interface Series extends Omit<HttpCounts, 'duration' | 'firstByte' | 'untimed'> {
  readonly duration: { sum: number; count: number; readonly buckets: Float64Array };
  untimed: number;
}

/** What exceeds the budget, on one side. */
function overflowPair(role: Role): Pair {
  const world = { kind: 'world' } as const;
  return { role, local: world, remote: world, port: 0, overflow: true };
}

type NamedEnd = { -readonly [K in keyof Named]: Named[K] };
type Named = Extract<Endpoint, { kind: 'named' }>;

export class FlowCounter {
  readonly #startedAt = Date.now();
  readonly #boundaries: readonly number[];
  readonly #limits: FlowLimits;
  readonly #overflow: Readonly<Record<Role, Pair>> = {
    client: overflowPair('client'),
    server: overflowPair('server'),
  };
  readonly #ends = new Map<string, NamedEnd>();
  readonly #pairs = new Map<string, Pair>();
  readonly #series = new Map<Pair, Map<string, Series>>();
  #size = 0;
  readonly #outcomes = new Map<string, number>();
  readonly #overflowed = { pairs: 0, series: 0 };
  #seen = 0;
  #untimed = 0;
  #lost = 0;
  #unreadable = 0;

  /** @param boundaries seconds, ascending */
  constructor(boundaries: readonly number[], limits: Partial<FlowLimits> = {}) {
    this.#boundaries = boundaries;
    this.#limits = { ...DEFAULT_FLOW_LIMITS, ...limits };
  }

  /** Flows so far, and how many their source said were lost. */
  get seen(): number {
    return this.#seen;
  }

  get lost(): number {
    return this.#lost;
  }

  get unreadable(): number {
    return this.#unreadable;
  }

  add(event: FlowEvent): void {
    if ('lost' in event) this.#lost += event.lost.count;
    if (!('flow' in event)) return;
    this.#seen++;
    const side = sideOf(event.flow);
    const outcome = outcomeOf(event.flow, side);
    const key = `${side} ${outcome}`;
    this.#outcomes.set(key, (this.#outcomes.get(key) ?? 0) + 1);
    // Whoever reports requests that come in reports their answers, too.
    if (side === 'server' && event.flow.l7?.http) this.#end(connectionEnds(event.flow).server).watched = true;
    if (outcome === 'answered') this.#count(event.flow, side as Role);
  }

  /** Something was there that could not be read. */
  addUnreadable(): void {
    this.#unreadable++;
  }

  #count(flow: Flow, role: Role): void {
    const series = this.#seriesOf(flow, this.#pairOf(flow, role));
    const { latency } = flow.l7!;
    if (latency === 0) {
      series.untimed++;
      this.#untimed++;
      return;
    }
    const seconds = latency / 1e9;
    const found = this.#boundaries.findIndex((boundary) => seconds <= boundary);
    series.duration.buckets[found < 0 ? this.#boundaries.length : found]! += 1;
    series.duration.count++;
    series.duration.sum += seconds;
  }

  #pairOf(flow: Flow, role: Role): Pair {
    const { client, server } = connectionEnds(flow);
    const [local, remote] = role === 'client' ? [client, server] : [server, client];
    const key = `${role} ${keyOf(local)} ${keyOf(remote)} ${server.port}`;
    const known = this.#pairs.get(key);
    if (known) return known;
    if (this.#pairs.size >= this.#limits.pairs) {
      this.#overflowed.pairs++;
      return this.#overflow[role];
    }
    const ends = { local: this.#end(local), remote: this.#end(remote) };
    const pair = { role, ...ends, port: server.port, overflow: false };
    this.#pairs.set(key, pair);
    return pair;
  }

  #seriesOf({ l7 }: Flow, pair: Pair): Series {
    const { method, code, protocol, url } = l7!.http!;
    const labels = {
      method: METHODS.has(method.toUpperCase()) ? method.toUpperCase() : '_OTHER',
      status: code,
      version: versionOf(protocol),
      scheme: url.startsWith('https:') ? ('https' as const) : ('http' as const),
    };
    const key = Object.values(labels).join(' ');
    const ofPair = this.#series.get(pair) ?? new Map<string, Series>();
    const known = ofPair.get(key);
    if (known) return known;
    const full = this.#size >= this.#limits.series;
    if (full && !pair.overflow) {
      this.#overflowed.series++;
      return this.#seriesOf({ l7 } as Flow, this.#overflow[pair.role]);
    }
    if (pair.overflow && ofPair.size > 0) return [...ofPair.values()][0]!;
    const series: Series = {
      ...{ pair, ...labels, failure: undefined, rpc: undefined, route: undefined },
      // Of what exceeds the budget only that it was answered is told.
      ...(pair.overflow && { method: '_OTHER', status: 0 }),
      ...{ overflow: pair.overflow, untimed: 0 },
      duration: { sum: 0, count: 0, buckets: new Float64Array(this.#boundaries.length + 1) },
    };
    ofPair.set(key, series);
    this.#series.set(pair, ofPair);
    this.#size++;
    return series;
  }

  #end(end: FlowEnd): NamedEnd {
    const key = keyOf(end);
    const known = this.#ends.get(key);
    if (known) return known;
    const named: NamedEnd = { kind: 'named', ...nameOf(end), watched: false };
    if (this.#ends.size < 4 * this.#limits.pairs) this.#ends.set(key, named);
    return named;
  }

  /** All counts, in numbers of their own. */
  counts(): Counts {
    return {
      startedAt: this.#startedAt,
      at: Date.now(),
      boundaries: this.#boundaries,
      tcp: [],
      dns: [],
      http: [...this.#series.values()]
        .flatMap((ofPair) => [...ofPair.values()])
        .map((series) => ({
          ...series,
          duration: { ...series.duration, buckets: series.duration.buckets.slice() },
          firstByte: this.#nothing(),
        })),
      ledger: this.#ledger(),
      budgets: [
        { name: 'pairs', used: this.#pairs.size, limit: this.#limits.pairs },
        { name: 'series', used: this.#size, limit: this.#limits.series },
      ],
    };
  }

  #nothing(): HistogramCounts {
    return { sum: 0, count: 0, buckets: new Float64Array(this.#boundaries.length + 1) };
  }

  #ledger(): LedgerLine[] {
    const line = (subject: string, outcome: string, count: number, role: Side = 'unknown'): LedgerLine => ({
      role,
      subject,
      outcome,
      count,
    });
    const outcomes = SIDES.flatMap((side) =>
      OUTCOMES.map((outcome) => line('flows', outcome, this.#outcomes.get(`${side} ${outcome}`) ?? 0, side)),
    );
    return [
      line('flows', 'seen', this.#seen),
      ...outcomes,
      line('flows', 'unreadable', this.#unreadable),
      line('flows', 'lost', this.#lost),
      line('exchanges', 'untimed', this.#untimed),
      line('series', 'overflowed', this.#overflowed.series),
      line('pairs', 'overflowed', this.#overflowed.pairs),
    ];
  }
}

const sideOf = ({ direction }: Flow): Side =>
  direction === 'INGRESS' ? 'server' : direction === 'EGRESS' ? 'client' : 'unknown';

function outcomeOf({ l7, verdict }: Flow, side: Side): Outcome {
  if (!l7?.http || l7.type === 'SAMPLE' || l7.type === 'UNKNOWN_L7_TYPE') return 'other';
  // One flow for a whole exchange is a request that has its status.
  const answered = l7.type === 'RESPONSE' || l7.http.code !== 0;
  if (!answered) return verdict === 'DROPPED' ? 'denied' : 'request';
  return side === 'unknown' ? 'sideless' : 'answered';
}

/** Of the semantic conventions' list (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/). */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']);

/** `HTTP/2`, `HTTP/2.0` and `HTTP/1.1` as `2` and `1.1`. */
const versionOf = (protocol: string) =>
  /^HTTP\/(\d(?:\.\d)?)$/i.exec(protocol)?.[1]?.replace('.0', '') ?? 'unknown';

function keyOf(end: FlowEnd): string {
  const { service, namespace, workload } = nameOf(end);
  return JSON.stringify([service, namespace, workload]);
}
