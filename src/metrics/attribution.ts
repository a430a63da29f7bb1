/**
 * Keeps what was counted under a name under that name.
 *
 * Names change while counts go on: an unknown address gets a name, an address passes to another service, a dead
 * one's name is forgotten. If a pair took its whole history along to its new name, the point it leaves would go
 * backwards wherever another pair shares its labels, which Prometheus takes for a restart and adds the rest of the
 * point once more to every rate; and the next owner of an address would inherit the numbers of the last. So a pair's
 * history stays where it was reported, and only what is counted from then on goes to the new name: no point ever
 * goes backwards, the sum over all points is what was counted, and nothing is counted twice.
 *
 * It relies on what receivers promise: what one sweep has, later sweeps have too, and never less of it.
 *
 * This is kept in memory. After a restart of the agent, history goes by the names of that moment.
 *
 * @module
 */

import type { Identity } from '../identity/identity.js';
import type { HistogramCounts, HttpCounts, Pair, TcpCounts } from '../receivers/counts.js';
import type { Ends, Row, Snapshot } from './model.js';

/** Rows kept for names that no pair has any more; what comes beyond goes to the overflow series. */
const LIMIT = 20_000;

type Counted = HttpCounts | TcpCounts;

interface Known {
  /** As it was called in the last snapshot. */
  ends: Ends;
  /** What of its counts belongs to earlier names, by series. */
  before?: Map<string, Counted>;
}

export class Attribution {
  readonly #pairs = new WeakMap<Pair, Known>();
  readonly #requests = new Rows(http);
  readonly #connections = new Rows(tcp);

  /** The snapshot as it may be reported. To be called with every snapshot that is, in order. */
  settle(snapshot: Snapshot): Snapshot {
    const renamed = this.#renamed(snapshot);
    return {
      ...snapshot,
      requests: this.#settled(snapshot.requests, renamed, this.#requests, seriesKey),
      connections: this.#settled(snapshot.connections, renamed, this.#connections, () => 'tcp'),
    };
  }

  /** Pairs that are called otherwise than in the last snapshot, and how they were called then. */
  #renamed(snapshot: Snapshot): Map<Pair, Ends> {
    const renamed = new Map<Pair, Ends>();
    for (const { ends } of [...snapshot.requests, ...snapshot.connections]) {
      const known = this.#pairs.get(ends.pair);
      if (!known) this.#pairs.set(ends.pair, { ends });
      else if (known.ends !== ends) {
        if (!ends.overflow && !sameNames(known.ends, ends)) renamed.set(ends.pair, known.ends);
        known.ends = ends;
      }
    }
    return renamed;
  }

  #settled<C extends Counted>(
    rows: readonly Row<C>[],
    renamed: ReadonlyMap<Pair, Ends>,
    left: Rows<C>,
    seriesOf: (counts: C) => string,
  ): Row<C>[] {
    const settled = rows.map(({ ends, counts }) => {
      const known = this.#pairs.get(ends.pair)!;
      const was = renamed.get(ends.pair);
      if (!was && !known.before) return { ends, counts };
      const series = seriesOf(counts);
      const before = known.before?.get(series) as C | undefined;
      if (!was) return { ends, counts: before ? left.combine(counts, before, minus) : counts };
      left.add(was, series, before ? left.combine(counts, before, minus) : counts);
      known.before ??= new Map();
      known.before.set(series, counts);
      return { ends, counts: left.combine(counts, counts, minus) };
    });
    return [...settled, ...left.all()];
  }
}

/** Rows by name: what no pair of that name counts any more. */
class Rows<C extends Counted> {
  readonly #rows = new Map<string, Row<C>>();
  readonly combine: (a: C, b: C, operator: Operator) => C;

  constructor(combine: (a: C, b: C, operator: Operator) => C) {
    this.combine = combine;
  }

  add(ends: Ends, series: string, counts: C): void {
    const { role, port, source, destination } = ends;
    let key = JSON.stringify([role, port, source, destination, series]);
    let row = { ends, counts };
    if (!this.#rows.has(key) && this.#rows.size >= LIMIT) {
      key = `overflow ${role}`;
      row = { ends: { ...ends, overflow: true }, counts };
    }
    const there = this.#rows.get(key);
    this.#rows.set(key, there ? { ...there, counts: this.combine(there.counts, counts, plus) } : row);
  }

  all(): Iterable<Row<C>> {
    return this.#rows.values();
  }
}

function sameNames(a: Ends, b: Ends): boolean {
  return sameIdentity(a.source, b.source) && sameIdentity(a.destination, b.destination);
}

function sameIdentity(a: Identity, b: Identity): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function seriesKey({ method, status, failure, version, scheme, route }: HttpCounts): string {
  return JSON.stringify([method, status, failure, version, scheme, route]);
}

type Operator = (a: number, b: number) => number;
const plus: Operator = (a, b) => a + b;
// Sums of nanoseconds turned to seconds do not always subtract to a clean zero.
const minus: Operator = (a, b) => Math.max(0, a - b);

function http(a: HttpCounts, b: HttpCounts, operator: Operator): HttpCounts {
  return {
    ...a,
    duration: histogram(a.duration, b.duration, operator),
    firstByte: histogram(a.firstByte, b.firstByte, operator),
  };
}

function tcp(a: TcpCounts, b: TcpCounts, operator: Operator): TcpCounts {
  return {
    pair: a.pair,
    opened: operator(a.opened, b.opened),
    closed: operator(a.closed, b.closed),
    reset: operator(a.reset, b.reset),
    timedOut: operator(a.timedOut, b.timedOut),
    refused: operator(a.refused, b.refused),
    unreachable: operator(a.unreachable, b.unreachable),
    cancelled: operator(a.cancelled, b.cancelled),
    bytesSent: operator(a.bytesSent, b.bytesSent),
    bytesReceived: operator(a.bytesReceived, b.bytesReceived),
    retransmits: operator(a.retransmits, b.retransmits),
    connect: histogram(a.connect, b.connect, operator),
    rtt: histogram(a.rtt, b.rtt, operator),
  };
}

function histogram(a: HistogramCounts, b: HistogramCounts, operator: Operator): HistogramCounts {
  return {
    sum: operator(a.sum, b.sum),
    count: operator(a.count, b.count),
    buckets: a.buckets.map((n, i) => operator(n, b.buckets[i]!)),
  };
}
