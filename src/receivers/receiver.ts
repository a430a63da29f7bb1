import type { Logger } from 'pino';
import type { FlowSink } from '../flows/hub.js';
import type { Server, ServiceRoutes } from '../routes/services.js';
import type { Counts, Pair } from './counts.js';

/** What a receiver is given when it starts. */
export interface ReceiverContext {
  readonly log: Logger;
  /** Upper bounds of latency buckets, seconds, ascending. */
  readonly boundaries: readonly number[];
  readonly signal: AbortSignal;
  /** Where a receiver that is given flows hands them on to those who watch. Absent where nobody can. */
  readonly flows?: FlowSink | undefined;
  /** Who the ends of a pair are, for flows; undefined while one may be told any moment. Absent where nobody knows. */
  nameEnds?(pair: Pair): { readonly source: EndName | undefined; readonly destination: EndName | undefined };
}

/** Who an end is, in the words of the metrics. */
export interface EndName {
  readonly service: string;
  readonly namespace: string;
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The state of one receiver, told apart by `state`. */
export type ReceiverStatus =
  | { readonly state: 'running'; readonly detail: Readonly<Record<string, string | number>> }
  | {
      readonly state: 'degraded';
      readonly reason: string;
      readonly detail: Readonly<Record<string, string | number>>;
    }
  | { readonly state: 'failed'; readonly reason: string };

export interface RunningReceiver extends AsyncDisposable {
  /** One sweep over all counts. Calls that overlap share a sweep. Rejects with a MeshtapError. */
  collect(): Promise<Counts>;
  status(): ReceiverStatus;
  /**
   * The rows with these tokens (`Ending`), which were final, are kept elsewhere: what they took may be used for others.
   * Absent where no row ever ends.
   */
  release?(tokens: ReadonlySet<string>): void;
  /** A place for what belongs to the counts and has to live as long. Absent where they end with the process. */
  readonly memory?: Memory | undefined;
  /** Which addresses are counted as one peer; replaces what was set before. Absent where no addresses are counted. */
  setPrefixes?(prefixes: readonly Prefix[]): void;
  /**
   * Which routes services have; replaces what was set before, at once, and no count is lost. `serverOf` says who the server
   * of a pair is, undefined while it may be told any moment. Rejects with PATTERN_REFUSED; then those before stay. Absent
   * where paths are not seen.
   */
  setRoutes?(routes: readonly ServiceRoutes[], serverOf: (pair: Pair) => Server | undefined): Promise<void>;
}

/** Bytes by name. What is kept replaces what was, all of it or nothing, whenever the process ends. */
export interface Memory {
  /** @throws MeshtapError */
  keep(name: string, bytes: Uint8Array): void;
  kept(name: string): Uint8Array | undefined;
}

/** The smallest `id` of a prefix that is a name and not a verdict (`FIRST_PREFIX` in `wire/counts.h`). */
export const FIRST_PREFIX_ID = 16;

export interface Prefix {
  /** `10.1.2.0/24`, `fd00::/8`, or a bare address. */
  readonly cidr: string;
  /** `address`: each address a peer of its own. `world`: all of them one peer. A number >= 16: that identity. */
  readonly id: 'address' | 'world' | number;
}

/**
 * A source of counts. One file per receiver in this folder; each passes `test/contract/receiver.ts`.
 * `start` either returns a running receiver or rejects and leaves nothing behind.
 */
export interface Receiver {
  /** One word; also the file's name. */
  readonly name: string;
  start(context: ReceiverContext): Promise<RunningReceiver>;
}
