/**
 * Keeps what was counted under a name under that name, so that no point ever goes backwards.
 *
 * Names change while counts go on: an unknown address gets a name, an address passes to another service, a dead
 * one's name is forgotten. If a pair took its whole history along to its new name, the point it leaves would go
 * backwards wherever another pair shares its labels, which Prometheus takes for a restart and adds the rest of the
 * point once more to every rate; and the next owner of an address would inherit the numbers of the last. So a pair's
 * history stays where it was reported, and only what is counted from then on goes to the new name.
 *
 * Rows leave: a receiver makes room by giving up what was idle, and goes on from where it was if that comes back.
 * The last counts of what left are reported on, or a point shared with others would go backwards here too. Should a
 * receiver have forgotten and count from zero again, the new counts are added to the old.
 *
 * So the sum over all points is what was counted, and nothing is counted twice. This is kept in memory: after a
 * restart of the agent, history goes by the names of that moment.
 *
 * @module
 */

import { type Identity, UNKNOWN } from '../identity/identity.js';
import type { Endpoint, HistogramCounts, HttpCounts, Pair, TcpCounts } from '../receivers/counts.js';
import type { Ends, Row, Snapshot } from './model.js';

/**
 * Rows kept of what left. Beyond, the names that left first are forgotten, all points of theirs at once: a point that
 * is not there does not go backwards.
 */
const LIMIT = 10_000;

type Counted = HttpCounts | TcpCounts;

/** Applied to every snapshot that is reported, in order. */
export class Attribution {
  readonly #requests: History<HttpCounts>;
  readonly #connections: History<TcpCounts>;

  constructor({ limit = LIMIT }: { limit?: number } = {}) {
    this.#requests = new History(HTTP, limit);
    this.#connections = new History(TCP, limit);
  }

  /** The snapshot as it may be reported. */
  settle(snapshot: Snapshot): Snapshot {
    return {
      ...snapshot,
      requests: this.#requests.settle(snapshot.requests),
      connections: this.#connections.settle(snapshot.connections),
    };
  }
}

/** What is known of one series of a pair. */
interface Entry<C> {
  counts: C;
  /** What of it belongs to earlier names. */
  before?: C;
}

interface PairHistory<C> {
  /** As it was called when it was seen last. */
  ends: Ends;
  readonly entries: Map<string, Entry<C>>;
}

/** How one kind of counts is told apart and calculated with. */
interface Arithmetic<C> {
  series(counts: C): string;
  /** Grows whenever something is counted. */
  size(counts: C): number;
  combine(a: C, b: C, operator: Operator): C;
}

class History<C extends Counted> {
  readonly #arithmetic: Arithmetic<C>;
  readonly #limit: number;
  readonly #pairs = new Map<Pair, PairHistory<C>>();
  /** Pairs that left, by what they were: they come back as other objects. */
  readonly #gone = new Map<string, PairHistory<C>>();
  /** What no entry holds any more, by name and series. */
  readonly #left = new Map<string, Row<C>>();

  constructor(arithmetic: Arithmetic<C>, limit: number) {
    this.#arithmetic = arithmetic;
    this.#limit = limit;
  }

  settle(rows: readonly Row<C>[]): Row<C>[] {
    this.#part(new Set(rows.map(({ ends }) => ends.pair)));
    for (const row of rows) this.#take(row, this.#historyOf(row.ends));
    this.#forget();
    return [...this.#rows(this.#pairs), ...this.#rows(this.#gone), ...this.#left.values()];
  }

  /** From pairs that are not among these. */
  #part(here: ReadonlySet<Pair>): void {
    for (const [pair, history] of this.#pairs) {
      if (here.has(pair)) continue;
      this.#pairs.delete(pair);
      const key = keyOf(pair);
      // Two receivers may watch one pair. Only one of the two can be told to have come back.
      const other = this.#gone.get(key);
      for (const [series, entry] of other?.entries ?? []) this.#leave(other!.ends, series, this.#own(entry));
      this.#gone.set(key, history);
    }
  }

  /** Of the pair of these ends; what it has counted under other names has left when this returns. */
  #historyOf(ends: Ends): PairHistory<C> {
    const { pair } = ends;
    let history = this.#pairs.get(pair);
    if (!history) {
      const key = keyOf(pair);
      history = this.#gone.get(key) ?? { ends, entries: new Map() };
      this.#gone.delete(key);
      this.#pairs.set(pair, history);
    }
    if (history.ends !== ends) {
      const was = history.ends;
      history.ends = ends;
      if (!ends.overflow && !sameNames(was, ends)) this.#rename(history, was);
    }
    return history;
  }

  #rename({ entries }: PairHistory<C>, was: Ends): void {
    for (const [series, entry] of entries) {
      this.#leave(was, series, this.#own(entry));
      entry.before = entry.counts;
    }
  }

  #take({ ends, counts }: Row<C>, { entries }: PairHistory<C>): void {
    const { series, size } = this.#arithmetic;
    const key = series(counts);
    const entry = entries.get(key);
    if (!entry) entries.set(key, { counts });
    else if (size(counts) >= size(entry.counts)) entry.counts = counts;
    else {
      this.#leave(ends, key, this.#own(entry));
      entries.set(key, { counts });
    }
  }

  #own({ counts, before }: Entry<C>): C {
    return before ? this.#arithmetic.combine(counts, before, minus) : counts;
  }

  #leave(ends: Ends, series: string, counts: C): void {
    const key = `${nameOf(ends)} ${ends.port} ${series}`;
    const there = this.#left.get(key);
    this.#left.set(key, {
      ends,
      counts: there ? this.#arithmetic.combine(there.counts, counts, plus) : counts,
    });
  }

  *#rows(pairs: ReadonlyMap<unknown, PairHistory<C>>): Generator<Row<C>> {
    for (const { ends, entries } of pairs.values())
      for (const entry of entries.values()) {
        const counts = this.#own(entry);
        // Whose name was taken away, and who did nothing since: that nobody did nothing is no news.
        if (entry.before && nameless(ends) && this.#arithmetic.size(counts) === 0) continue;
        yield { ends, counts };
      }
  }

  #forget(): void {
    let excess = this.#left.size - this.#limit;
    for (const { entries } of this.#gone.values()) excess += entries.size;
    if (excess <= 0) return;
    const live = new Set([...this.#pairs.values()].map(({ ends }) => nameOf(ends)));
    const forgotten = new Set<string>();
    for (const { ends, entries } of this.#gone.values()) {
      if (excess <= 0) break;
      if (live.has(nameOf(ends))) continue;
      forgotten.add(nameOf(ends));
      excess -= entries.size;
    }
    for (const { ends } of this.#left.values()) {
      if (excess <= 0) break;
      if (live.has(nameOf(ends)) || forgotten.has(nameOf(ends))) continue;
      forgotten.add(nameOf(ends));
      excess--;
    }
    for (const [key, { ends }] of this.#gone) if (forgotten.has(nameOf(ends))) this.#gone.delete(key);
    for (const [key, { ends }] of this.#left) if (forgotten.has(nameOf(ends))) this.#left.delete(key);
  }
}

function keyOf({ role, local, remote, port }: Pair): string {
  return JSON.stringify([role, port, endOf(local), endOf(remote)]);
}

function endOf(end: Endpoint): unknown {
  return end.kind === 'cgroup' ? [end.kind, String(end.cgroup)] : end;
}

/** What the coarsest dialect can tell apart: points of other names have nothing to do with each other. */
function nameOf({ role, source, destination }: Ends): string {
  return JSON.stringify([role, source, destination]);
}

function nameless({ source, destination }: Ends): boolean {
  return [source, destination].some(({ service }) => service === UNKNOWN.service);
}

function sameNames(a: Ends, b: Ends): boolean {
  return sameIdentity(a.source, b.source) && sameIdentity(a.destination, b.destination);
}

function sameIdentity(a: Identity, b: Identity): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

type Operator = (a: number, b: number) => number;
const plus: Operator = (a, b) => a + b;
// Sums of nanoseconds turned to seconds do not always subtract to a clean zero.
const minus: Operator = (a, b) => Math.max(0, a - b);

const HTTP: Arithmetic<HttpCounts> = {
  series: ({ method, status, failure, version, scheme, route, rpc }) =>
    JSON.stringify([method, status, failure, version, scheme, route, rpc]),
  size: ({ duration }) => duration.count,
  combine: (a, b, operator) => ({
    ...a,
    duration: histogram(a.duration, b.duration, operator),
    firstByte: histogram(a.firstByte, b.firstByte, operator),
  }),
};

const TCP: Arithmetic<TcpCounts> = {
  series: () => 'tcp',
  size: ({ pair, connect, rtt, ...numbers }) =>
    Object.values(numbers).reduce((sum, n) => sum + n, connect.count + rtt.count),
  combine: (a, b, operator) => ({
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
  }),
};

function histogram(a: HistogramCounts, b: HistogramCounts, operator: Operator): HistogramCounts {
  return {
    sum: operator(a.sum, b.sum),
    count: operator(a.count, b.count),
    buckets: a.buckets.map((n, i) => operator(n, b.buckets[i]!)),
  };
}
