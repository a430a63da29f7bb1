/**
 * The one model behind all dialects: what was counted, with both ends named.
 *
 * @module
 */

import type { Identity } from '../identity/identity.js';
import type { Counted, Counts, DnsCounts, HttpCounts, Pair, Role, TcpCounts } from '../receivers/counts.js';

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
  /** True for what takes up names that nobody has any more; `overflow` is true as well. */
  readonly retired?: true;
}

/** Whether this side is the one that reports what passes between these ends, where each request is told of once. */
export function reported({ role, destination }: Ends): boolean {
  return role === 'server' || !destination.watched;
}

export interface Row<C extends Counted> {
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
  readonly lookups: readonly Row<DnsCounts>[];
  /** Pairs that are left out, because an end of theirs may be told a name any moment. */
  readonly held: ReadonlySet<Pair>;
}

/** Says who both ends of a pair are; undefined for one that may be told any moment. Never throws, never waits. */
export type Identify = (pair: Pair) => {
  readonly source: Identity | undefined;
  readonly destination: Identity | undefined;
};

/**
 * Joins every count of a sweep with the names its ends have now. Pairs with an end that may be named any moment are
 * left out: counts go on, and all of them will be there when it has its name. Asks once per pair.
 */
export function resolve(counts: Counts, identify: Identify): Snapshot {
  const named = new Map<Pair, Ends | undefined>();
  const held = new Set<Pair>();
  const endsOf = (pair: Pair): Ends | undefined => {
    if (named.has(pair)) return named.get(pair);
    const { source, destination } = identify(pair);
    const { role, port, overflow } = pair;
    const ends = source && destination && { pair, role, source, destination, port, overflow };
    named.set(pair, ends);
    if (!ends) held.add(pair);
    return ends;
  };
  const rows = <C extends Counted>(all: readonly C[]): Row<C>[] =>
    all.flatMap((counts) => {
      const ends = endsOf(counts.pair);
      return ends ? [{ ends, counts }] : [];
    });
  return {
    startedAt: counts.startedAt,
    at: counts.at,
    boundaries: counts.boundaries,
    requests: rows(counts.http),
    connections: rows(counts.tcp),
    lookups: rows(counts.dns),
    held,
  };
}
