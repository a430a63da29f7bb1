/**
 * Who talks to whom, for people: the rows of a snapshot added up by service and namespace at both ends. Each request
 * is in it once, from the side that reports it ({@link reported}), so sums are those of the hubble dialect.
 *
 * @module
 */
import type { HttpCounts, TcpCounts } from '../receivers/counts.js';
import { type Ends, reported, type Snapshot } from './model.js';
import { errorType } from './outcome.js';
import { quantile } from './quantile.js';

/** One service, whatever number of replicas it has. */
export interface EdgeEnd {
  readonly service: string;
  /** Empty if there is none. */
  readonly namespace: string;
}

/** What one kind of answer came to. */
export interface Outcome {
  readonly error: boolean;
  readonly count: number;
}

/** Numbers of an edge that only grow. */
export interface EdgeCounts {
  readonly requests: number;
  /** In the eyes of a server: 5xx, gRPC's own failures, no answer. A 404 is none. */
  readonly errors: number;
  /** TCP connections established. */
  readonly connections: number;
  /** Connects that failed: refused, unreachable, given up. */
  readonly failedConnects: number;
  /** Payload of TCP, both ways. */
  readonly bytes: number;
  /** DNS lookups begun, and those that got no answer. */
  readonly lookups: number;
  readonly unanswered: number;
}

/** Everything between two services since counting began. */
export interface Edge extends EdgeCounts {
  readonly source: EdgeEnd;
  readonly destination: EdgeEnd;
  /** Of the server, ascending. */
  readonly ports: readonly number[];
  /** `HTTP/1.1`, `HTTP/2`, `gRPC`, `DNS`, `TCP` where nothing above it is known; in alphabetical order. */
  readonly protocols: readonly string[];
  /** Of `connections`, those that carry TLS, and those whose inside is read. */
  readonly tls: number;
  readonly tlsDecoded: number;
  /** By status (`200`, `UNAVAILABLE`) or failure (`connection_reset`). */
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** Per bucket of the snapshot's boundaries. */
  readonly buckets: Float64Array;
}

/** All edges of one moment. */
export interface Edges {
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly at: number;
  /** Upper bounds of the buckets, seconds, ascending; without +Inf. */
  readonly boundaries: readonly number[];
  readonly byKey: ReadonlyMap<string, Edge>;
  /** Requests that are on no edge, because their names are not known any more or exceed a limit. */
  readonly nameless: number;
}

/** What came of an edge between two moments. */
export interface EdgeRates extends EdgeCounts {
  readonly edge: Edge;
  readonly outcomes: ReadonlyMap<string, Outcome>;
  readonly buckets: Float64Array;
  /** Seconds; NaN without requests that were measured. */
  readonly p50: number;
  readonly p99: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
interface Growing extends Mutable<EdgeCounts> {
  source: EdgeEnd;
  destination: EdgeEnd;
  ports: Set<number>;
  protocols: Set<string>;
  tls: number;
  tlsDecoded: number;
  outcomes: Map<string, Outcome>;
  buckets: Float64Array;
}

/** Tells edges apart. */
export const edgeKey = (source: EdgeEnd, destination: EdgeEnd): string =>
  JSON.stringify([source.namespace, source.service, destination.namespace, destination.service]);

/** Adds up what a snapshot has between each two services. */
export function edgesOf({ requests, connections, lookups, boundaries, startedAt, at }: Snapshot): Edges {
  const growing = new Map<string, Growing>();
  const edgeOf = ({ source, destination, port }: Ends): Growing => {
    const key = edgeKey(source, destination);
    let edge = growing.get(key);
    if (!edge) {
      edge = emptyEdge(source, destination, boundaries.length + 1);
      growing.set(key, edge);
    }
    edge.ports.add(port);
    return edge;
  };
  let nameless = 0;
  for (const { ends, counts } of requests) {
    if (!reported(ends)) continue;
    const count = counts.duration.count + (counts.untimed ?? 0);
    if (ends.overflow || counts.overflow) nameless += count;
    else if (count > 0) addRequests(edgeOf(ends), counts, count);
  }
  for (const { ends, counts } of connections) if (!ends.overflow) addConnections(ends, counts, edgeOf);
  for (const { ends, counts } of lookups) {
    if (!reported(ends) || ends.overflow || counts.overflow || counts.queries + counts.unanswered === 0)
      continue;
    const edge = edgeOf(ends);
    edge.protocols.add('DNS');
    edge.lookups += counts.queries;
    edge.unanswered += counts.unanswered;
  }
  const byKey = new Map([...growing].map(([key, edge]) => [key, finished(edge)]));
  return { startedAt, at, boundaries, byKey, nameless };
}

const emptyEdge = (source: EdgeEnd, destination: EdgeEnd, buckets: number): Growing => ({
  source: { service: source.service, namespace: source.namespace },
  destination: { service: destination.service, namespace: destination.namespace },
  ports: new Set(),
  protocols: new Set(),
  ...{ requests: 0, errors: 0, connections: 0, failedConnects: 0, bytes: 0, lookups: 0, unanswered: 0 },
  ...{ tls: 0, tlsDecoded: 0 },
  outcomes: new Map(),
  buckets: new Float64Array(buckets),
});

function addRequests(edge: Growing, counts: HttpCounts, count: number): void {
  // In a server's eyes from either side: what the client did wrong is no failure of the edge.
  const failed = errorType('server', counts);
  edge.protocols.add(counts.rpc ? 'gRPC' : `HTTP/${counts.version}`);
  edge.requests += count;
  if (failed !== undefined) edge.errors += count;
  const name = failed ?? counts.rpc?.status ?? String(counts.status ?? 'unknown');
  edge.outcomes.set(name, {
    error: failed !== undefined,
    count: (edge.outcomes.get(name)?.count ?? 0) + count,
  });
  const { buckets } = counts.duration;
  for (let i = 0; i < buckets.length; i++) edge.buckets[i]! += buckets[i]!;
}

function addConnections(ends: Ends, counts: TcpCounts, edgeOf: (ends: Ends) => Growing): void {
  // Nobody but the client knows of connections that never came about.
  const failed = ends.role === 'client' ? counts.refused + counts.unreachable + counts.cancelled : 0;
  if (!reported(ends) && failed === 0) return;
  const edge = edgeOf(ends);
  edge.failedConnects += failed;
  if (!reported(ends)) return;
  edge.connections += counts.opened;
  edge.bytes += counts.bytesSent + counts.bytesReceived;
  edge.tls += counts.tls;
  edge.tlsDecoded += counts.tlsDecoded;
}

function finished({ ports, protocols, ...edge }: Growing): Edge {
  if (protocols.size === 0) protocols.add('TCP');
  return { ...edge, ports: [...ports].sort((a, b) => a - b), protocols: [...protocols].sort() };
}

/** What came between two moments, for every edge of the later one. */
export function edgesBetween(before: Edges, { byKey, boundaries }: Edges): EdgeRates[] {
  return Array.from(byKey, ([key, edge]) => {
    const first = before.byKey.get(key);
    // A name that was folded away and came back begins at 0 again.
    const came = (name: keyof EdgeCounts) => Math.max(0, edge[name] - (first?.[name] ?? 0));
    const buckets = edge.buckets.map((n, i) => Math.max(0, n - (first?.buckets[i] ?? 0)));
    const outcomes = new Map<string, Outcome>();
    for (const [name, { error, count }] of edge.outcomes)
      outcomes.set(name, { error, count: Math.max(0, count - (first?.outcomes.get(name)?.count ?? 0)) });
    return {
      edge,
      requests: came('requests'),
      errors: came('errors'),
      connections: came('connections'),
      failedConnects: came('failedConnects'),
      bytes: came('bytes'),
      lookups: came('lookups'),
      unanswered: came('unanswered'),
      outcomes,
      buckets,
      p50: quantile(0.5, buckets, boundaries),
      p99: quantile(0.99, buckets, boundaries),
    };
  });
}

/** How an edge does: `failing` from one failure in a hundred on, `errors` below that, `idle` where nothing came. */
export type EdgeState = 'failing' | 'errors' | 'ok' | 'idle';

/** What share of requests, connects or lookups may fail until an edge is called failing. */
const TOLERATED = 0.01;

export function edgeState(counts: EdgeCounts): EdgeState {
  const { requests, connections, lookups, bytes } = counts;
  const failures = [
    [counts.errors, requests],
    [counts.failedConnects, counts.failedConnects + connections],
    [counts.unanswered, lookups],
  ] as const;
  if (failures.some(([failed, of]) => failed > 0 && failed >= TOLERATED * of)) return 'failing';
  if (failures.some(([failed]) => failed > 0)) return 'errors';
  return requests + connections + lookups + bytes > 0 ? 'ok' : 'idle';
}
