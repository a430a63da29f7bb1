/**
 * What the page asks the agent for, as JSON. Numbers that there are not (NaN) are null.
 *
 * @module
 */
import type { EdgeCounts, EdgeEnd, EdgeState } from '../../metrics/edges.js';

/** One edge, at `map.json`. */
export interface WireEdge {
  readonly source: EdgeEnd;
  readonly destination: EdgeEnd;
  readonly ports: readonly number[];
  readonly protocols: readonly string[];
  /** Connections since counting began that carry TLS, and those whose inside is read. */
  readonly tls: number;
  readonly tlsDecoded: number;
  /** Since counting began; equal to what /metrics has. */
  readonly total: EdgeCounts;
  /** Per second, over the last `seconds`; null until there were two looks. */
  readonly rate: EdgeCounts | null;
  readonly state: EdgeState;
  /** Seconds, over the last `seconds`. */
  readonly p50: number | null;
  readonly p99: number | null;
}

/** `map.json` */
export interface WireMap {
  readonly version: string;
  readonly host: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly at: number;
  /** How far the rates look back; null if they can not yet. */
  readonly seconds: number | null;
  /** Requests whose names are not known any more, or exceed a limit. */
  readonly nameless: number;
  readonly edges: readonly WireEdge[];
}

export interface WireOutcome {
  /** `200`, `UNAVAILABLE`, `connection_reset`. */
  readonly name: string;
  readonly error: boolean;
  readonly recent: number;
  readonly total: number;
}

export interface WireBucket {
  /** Seconds, inclusive; null for what takes longer than all bounds. */
  readonly bound: number | null;
  readonly recent: number;
  readonly total: number;
}

export interface WireFlow {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly verdict: string;
  readonly type: string;
  readonly summary: string;
  /** Milliseconds; null if nobody measured it. */
  readonly latency: number | null;
  readonly error: boolean;
}

/** `edge.json` */
export interface WireDetails {
  readonly edge: WireEdge;
  readonly at: number;
  readonly seconds: number | null;
  readonly outcomes: readonly WireOutcome[];
  readonly buckets: readonly WireBucket[];
  /** The newest first; null if nobody ever gave this agent single requests. */
  readonly flows: readonly WireFlow[] | null;
}
