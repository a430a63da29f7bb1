/**
 * The one model behind all dialects: what was counted, with both ends named.
 *
 * @module
 */

import type { Identity } from '../identity/identity.js';
import type { Counts, HttpCounts, Pair, Role, TcpCounts } from '../receivers/counts.js';

/** Who talks to whom, as seen from one side. One object per pair, the same for all its rows in a snapshot. */
export interface Ends {
  readonly pair: Pair;
  /** The side that was watched. */
  readonly role: Role;
  /** The client. */
  readonly source: Identity;
  /** The server. */
  readonly destination: Identity;
  /** Port of the server. */
  readonly port: number;
  /** True for the pair that takes what exceeds the budget: its names say nothing. */
  readonly overflow: boolean;
}

export interface Row<C extends HttpCounts | TcpCounts> {
  readonly ends: Ends;
  readonly counts: C;
}

/**
 * One sweep, named. Several rows may carry the same names (two replicas of a service, two unknown addresses):
 * dialects build their points with `points.ts`, which adds up what a dialect can not tell apart.
 */
export interface Snapshot {
  /** When counting began, milliseconds since the epoch. */
  readonly startedAt: number;
  /** When the sweep was read, milliseconds since the epoch. */
  readonly at: number;
  /** Upper bounds of the buckets, seconds, ascending, inclusive; without +Inf. */
  readonly boundaries: readonly number[];
  readonly requests: readonly Row<HttpCounts>[];
  readonly connections: readonly Row<TcpCounts>[];
}

/** Says who both ends of a pair are. Never throws, never waits. */
export type Identify = (pair: Pair) => { readonly source: Identity; readonly destination: Identity };

/** Joins every count of a sweep with the names its ends have now. Pure; asks once per pair. */
export function resolve(counts: Counts, identify: Identify): Snapshot {
  const named = new Map<Pair, Ends>();
  const endsOf = (pair: Pair): Ends => {
    let ends = named.get(pair);
    if (!ends) {
      const { source, destination } = identify(pair);
      ends = { pair, role: pair.role, source, destination, port: pair.port, overflow: pair.overflow };
      named.set(pair, ends);
    }
    return ends;
  };
  return {
    startedAt: counts.startedAt,
    at: counts.at,
    boundaries: counts.boundaries,
    requests: counts.http.map((http) => ({ ends: endsOf(http.pair), counts: http })),
    connections: counts.tcp.map((tcp) => ({ ends: endsOf(tcp.pair), counts: tcp })),
  };
}
