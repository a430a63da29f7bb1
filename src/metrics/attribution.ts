/**
 * Keeps what was counted under a name under that name, so that no point ever goes backwards.
 *
 * Names change while counts go on: an unknown address gets a name, an address passes to another service, a dead
 * one's name is forgotten. If a pair took its whole history along to its new name, the point it leaves would go
 * backwards wherever another pair shares its labels, which Prometheus takes for a restart and adds the rest of the
 * point once more to every rate; and the next owner of an address would inherit the numbers of the last. So a pair's
 * history stays where it was reported, and only what is counted from then on goes to the new name.
 *
 * Rows end: a receiver makes room by giving up what was idle. What ended is kept here by its names, so that all that
 * ever had one name take one row together, and it is kept in the receiver's memory, too, before the receiver lets go
 * of it: whenever the process ends, it is in the one place or in the other. What comes back begins another life, at 0,
 * and is added.
 *
 * Names die: nobody has them any more. After a while, or if there is no more room, all rows of a dead name are folded
 * into one row of its side without any names. If the name comes back after all, it begins at 0, in a point that was
 * not there before.
 *
 * So the sum over all points is what was counted, and nothing is counted twice. After a restart of the agent, rows
 * that have not ended go by the names of that moment.
 *
 * @module
 */
import type { DnsCounts, HttpCounts, TcpCounts } from '../receivers/counts.js';
import type { RunningReceiver } from '../receivers/receiver.js';
import { DNS, HTTP, TCP } from './arithmetic.js';
import { History } from './history.js';
import { decodeKept, encodeKept } from './kept-format.js';
import type { Snapshot } from './model.js';

/** A receiver, as far as it is told what became of its rows. */
export type Source = Pick<RunningReceiver, 'memory' | 'release'>;

export interface AttributionOptions {
  /** In the order of the snapshots. @default one that remembers nothing */
  sources?: readonly Source[];
  /** Milliseconds after which a name that nobody has is folded. @default 3600000, an hour */
  foldAfter?: number;
  /** Milliseconds since whenever. @default performance.now */
  clock?: () => number;
}

/** How many rows of each kind may be kept that ended. */
export interface KeptLimits {
  readonly requests: number;
  readonly connections: number;
  readonly lookups: number;
}

export const DEFAULT_KEPT: KeptLimits = { requests: 10_000, connections: 10_000, lookups: 10_000 };

const HOUR = 3_600_000;
/** In the memory of a receiver. */
const NAME = 'history';

/** Applied to every sweep that is reported, in order. */
export class Attribution {
  readonly #sources: readonly Source[];
  readonly #requests: History<HttpCounts>;
  readonly #connections: History<TcpCounts>;
  readonly #lookups: History<DnsCounts>;
  /** Something has come to be kept that is not yet in a memory. */
  #unsaved = false;

  constructor({
    sources = [{}],
    foldAfter = HOUR,
    clock = () => performance.now(),
  }: AttributionOptions = {}) {
    this.#sources = sources;
    this.#requests = new History({ arithmetic: HTTP, foldAfter, clock });
    this.#connections = new History({ arithmetic: TCP, foldAfter, clock });
    this.#lookups = new History({ arithmetic: DNS, foldAfter, clock });
    for (const [i, { memory }] of sources.entries()) {
      const { requests, connections, lookups, tokens } = decodeKept(memory?.kept(NAME), i);
      this.#requests.restore(requests, tokens);
      this.#connections.restore(connections, tokens);
      this.#lookups.restore(lookups, tokens);
    }
  }

  /** Rows of what ended, of each kind. */
  get kept(): KeptLimits {
    return {
      requests: this.#requests.size,
      connections: this.#connections.size,
      lookups: this.#lookups.size,
    };
  }

  /**
   * One snapshot of each source, as they may be reported together.
   *
   * @throws MeshtapError if what ended could not be kept; then its receiver has it still.
   */
  settle(snapshots: readonly Snapshot[], limits: KeptLimits = DEFAULT_KEPT): Snapshot {
    const requests = snapshots.map(({ requests, held }) => ({ rows: requests, held }));
    const connections = snapshots.map(({ connections, held }) => ({ rows: connections, held }));
    const lookups = snapshots.map(({ lookups, held }) => ({ rows: lookups, held }));
    const changed = [
      this.#requests.take(requests, limits.requests),
      this.#connections.take(connections, limits.connections),
      this.#lookups.take(lookups, limits.lookups),
    ];
    this.#unsaved ||= changed.includes(true);
    if (this.#unsaved) for (const [i, source] of this.#sources.entries()) this.#save(i, source);
    this.#unsaved = false;
    for (const [i, source] of this.#sources.entries()) {
      const final = this.#all().flatMap((it) => it.tokensOf(i, { final: true }));
      if (final.length > 0) source.release?.(new Set(final));
    }
    return {
      startedAt: Math.min(...snapshots.map(({ startedAt }) => startedAt)),
      at: Math.max(...snapshots.map(({ at }) => at)),
      boundaries: snapshots[0]!.boundaries,
      requests: [...this.#requests.rows()],
      // A pair of which only lookups are known has no connections to tell of.
      connections: [...this.#connections.rows()].filter(({ counts }) => !TCP.isZero(counts)),
      lookups: [...this.#lookups.rows()],
      held: new Set(snapshots.flatMap(({ held }) => [...held])),
    };
  }

  #all() {
    return [this.#requests, this.#connections, this.#lookups];
  }

  #save(source: number, { memory }: Source): void {
    if (!memory) return;
    const own = <R extends { source: number }>(rows: Iterable<R>) =>
      [...rows].filter((row) => row.source === source);
    const kept = {
      requests: own(this.#requests.endedRows()),
      connections: own(this.#connections.endedRows()),
      lookups: own(this.#lookups.endedRows()),
      tokens: this.#all().flatMap((it) => it.tokensOf(source)),
    };
    memory.keep(NAME, encodeKept(kept));
  }
}
