/**
 * How the counts of one kind of row are told apart and calculated with.
 *
 * @module
 */
import type { DnsCounts, HistogramCounts, HttpCounts, Pair, TcpCounts } from '../receivers/counts.js';

export interface Arithmetic<C> {
  /** Tells the series of one pair apart. */
  series(counts: C): string;
  plus(a: C, b: C): C;
  minus(a: C, b: C): C;
  /** With numbers of its own, which no sweep writes to and which hold no sweep's memory. */
  copy(counts: C): C;
  /** Whether nothing was counted. */
  isZero(counts: C): boolean;
  /** What is left of it when it has no name: whether there was an answer, and whether it was a call. */
  nameless(counts: C, pair: Pair): C;
}

type Operator = (a: number, b: number) => number;
const plus: Operator = (a, b) => a + b;
// Sums of nanoseconds turned to seconds do not always subtract to a clean zero.
const minus: Operator = (a, b) => Math.max(0, a - b);

function histogram(a: HistogramCounts, b: HistogramCounts, operator: Operator): HistogramCounts {
  return {
    sum: operator(a.sum, b.sum),
    count: operator(a.count, b.count),
    buckets: a.buckets.map((n, i) => operator(n, b.buckets[i]!)),
  };
}

const copyOf = ({ sum, count, buckets }: HistogramCounts): HistogramCounts => ({
  sum,
  count,
  buckets: buckets.slice(),
});

const http =
  (operator: Operator) =>
  (a: HttpCounts, b: HttpCounts): HttpCounts => ({
    ...a,
    duration: histogram(a.duration, b.duration, operator),
    firstByte: histogram(a.firstByte, b.firstByte, operator),
    ...(a.untimed !== undefined && { untimed: operator(a.untimed, b.untimed ?? 0) }),
  });

const NAMELESS_CALL = { service: '_OTHER', method: '_OTHER', status: '_OTHER' };

export const HTTP: Arithmetic<HttpCounts> = {
  series: ({ method, status, failure, version, scheme, route, rpc }) =>
    JSON.stringify([method, status, failure, version, scheme, route, rpc]),
  plus: http(plus),
  minus: http(minus),
  copy: ({ life: _, ending: __, duration, firstByte, ...rest }) => ({
    ...rest,
    duration: copyOf(duration),
    firstByte: copyOf(firstByte),
  }),
  isZero: ({ duration, untimed = 0 }) => duration.count + untimed === 0,
  nameless: (counts, pair) => ({
    ...counts,
    pair,
    method: '_OTHER',
    // Which it was is not told any more, but that there was one.
    status: counts.status === undefined ? undefined : 0,
    rpc: counts.rpc && NAMELESS_CALL,
    failure: undefined,
    route: undefined,
    overflow: true,
  }),
};

/** The plain numbers of `TcpCounts`. */
export const TCP_NUMBERS = [
  ...(['opened', 'closed', 'reset', 'timedOut', 'refused', 'unreachable', 'cancelled'] as const),
  ...(['bytesSent', 'bytesReceived', 'retransmits', 'tls', 'tlsDecoded'] as const),
] as const;

const tcp =
  (operator: Operator) =>
  (a: TcpCounts, b: TcpCounts): TcpCounts => {
    const numbers = TCP_NUMBERS.map((name) => [name, operator(a[name], b[name])]);
    return {
      ...a,
      ...(Object.fromEntries(numbers) as Record<(typeof TCP_NUMBERS)[number], number>),
      connect: histogram(a.connect, b.connect, operator),
      rtt: histogram(a.rtt, b.rtt, operator),
    };
  };

export const TCP: Arithmetic<TcpCounts> = {
  series: () => 'tcp',
  plus: tcp(plus),
  minus: tcp(minus),
  copy: ({ life: _, ending: __, connect, rtt, ...rest }) => ({
    ...rest,
    connect: copyOf(connect),
    rtt: copyOf(rtt),
  }),
  isZero: (counts) =>
    TCP_NUMBERS.every((name) => counts[name] === 0) && counts.connect.count + counts.rtt.count === 0,
  nameless: (counts, pair) => ({ ...counts, pair }),
};

const dns =
  (operator: Operator) =>
  (a: DnsCounts, b: DnsCounts): DnsCounts => {
    const types = new Set([...Object.keys(a.records), ...Object.keys(b.records)]);
    const records = [...types].map((type) => [type, operator(a.records[type] ?? 0, b.records[type] ?? 0)]);
    return {
      ...a,
      queries: operator(a.queries, b.queries),
      unanswered: operator(a.unanswered, b.unanswered),
      records: Object.fromEntries(records),
      duration: histogram(a.duration, b.duration, operator),
    };
  };

export const DNS: Arithmetic<DnsCounts> = {
  series: ({ type, code, addresses }) => JSON.stringify([type, code, addresses]),
  plus: dns(plus),
  minus: dns(minus),
  copy: ({ life: _, ending: __, duration, ...rest }) => ({ ...rest, duration: copyOf(duration) }),
  isZero: ({ queries, unanswered, duration }) => queries + unanswered + duration.count === 0,
  nameless: (counts, pair) => ({
    ...{ ...counts, pair, type: '_OTHER', addresses: 0, overflow: true },
    // Which it was is not told any more, but that there was one.
    code: undefined,
  }),
};
