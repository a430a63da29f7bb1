import { type Identity, UNKNOWN } from '../identity/identity.js';
import type { Counted, Pair, Role } from '../receivers/counts.js';
import type { Arithmetic } from './arithmetic.js';
import type { Ends, Row } from './model.js';

/** What was counted under one name. */
export interface Part<C> {
  readonly ends: Ends;
  /** See {@link nameOf}. */
  readonly name: string;
  readonly counts: C;
}

/** A row of what ended, with the number of the source it came from. */
export interface EndedRow<C extends Counted> extends Row<C> {
  readonly source: number;
}

/** All that ended under one name. */
interface Name<C extends Counted> {
  /** By all that tells them apart. */
  readonly rows: Map<string, EndedRow<C>>;
  /** One object for all rows of the same ends: dialects make their labels once for each. */
  readonly ends: Map<string, Ends>;
}

export interface EndedOptions<C> {
  readonly arithmetic: Arithmetic<C>;
  /** Milliseconds after which a dead name is folded. */
  readonly foldAfter: number;
  readonly clock: () => number;
}

/**
 * Counts of one kind that will not grow any more, by name: whatever ended under one name, port and series is one row.
 * A name whose points can not grow is dead; after a while, or to make room, it is folded into one row of its side
 * that has no names.
 */
export class Ended<C extends Counted> {
  readonly #options: EndedOptions<C>;
  readonly #names = new Map<string, Name<C>>();
  /** Longest first. */
  readonly #deadSince = new Map<string, number>();
  /** By side. */
  readonly #folded = new Map<string, EndedRow<C>>();
  #folding = new Set<string>();
  #size = 0;

  constructor(options: EndedOptions<C>) {
    this.#options = options;
  }

  /** Rows that have names. */
  get size(): number {
    return this.#size;
  }

  *rows(): Generator<EndedRow<C>> {
    for (const { rows } of this.#names.values()) yield* rows.values();
    yield* this.#folded.values();
  }

  /** Begins a sweep with the names of points that can grow. */
  begin(alive: ReadonlySet<string>): void {
    this.#folding = new Set();
    const now = this.#options.clock();
    for (const name of this.#names.keys()) {
      if (alive.has(name)) this.#deadSince.delete(name);
      else if (!this.#deadSince.has(name)) this.#deadSince.set(name, now);
    }
  }

  /** Whether a name was folded in this sweep. Then all of it is: a point that is gone does not go backwards. */
  isFolding(name: string): boolean {
    return this.#folding.has(name);
  }

  /** Adds what ended: to its name, or to what has none if that is being folded. */
  add(source: number, { ends, name, counts }: Part<C>): void {
    if (ends.overflow || this.#folding.has(name)) {
      this.#fold({ source, ends, counts });
      return;
    }
    const { plus, copy } = this.#options.arithmetic;
    let own = this.#names.get(name);
    if (!own) {
      own = { rows: new Map(), ends: new Map() };
      this.#names.set(name, own);
    }
    const key = this.#keyOf(source, ends, counts);
    const row = own.rows.get(key);
    if (row) {
      own.rows.set(key, { ...row, counts: plus(row.counts, counts) });
      return;
    }
    const who = endsKey(ends);
    const same = own.ends.get(who) ?? ends;
    own.ends.set(who, same);
    own.rows.set(key, { source, ends: same, counts: copy(counts) });
    this.#size++;
  }

  /** Whether these can be added without having more than `limit` rows. Names that are dead for longest make room. */
  makeRoom(source: number, parts: readonly Part<C>[], limit: number): boolean {
    if (this.#size + parts.length <= limit) return true;
    const isThere = ({ ends, name, counts }: Part<C>) =>
      this.#names.get(name)?.rows.has(this.#keyOf(source, ends, counts)) === true;
    const needed = () => parts.filter((part) => !this.#folding.has(part.name) && !isThere(part)).length;
    while (needed() > 0 && this.#size + needed() > limit) {
      const [oldest] = this.#deadSince.keys();
      if (oldest === undefined) return false;
      this.fold(oldest);
    }
    return true;
  }

  /** Folds the names that are dead for long; true if there were any. */
  foldOld(): boolean {
    const { clock, foldAfter } = this.#options;
    const now = clock();
    const old = [...this.#deadSince].filter(([, since]) => now - since >= foldAfter);
    for (const [name] of old) this.fold(name);
    return old.length > 0;
  }

  /** Folds a name, with all that is added to it in this sweep. */
  fold(name: string): void {
    const rows = this.#names.get(name)?.rows ?? new Map<string, EndedRow<C>>();
    for (const row of rows.values()) this.#fold(row);
    this.#size -= rows.size;
    this.#names.delete(name);
    this.#deadSince.delete(name);
    this.#folding.add(name);
  }

  #fold({ source, ends, counts }: EndedRow<C>): void {
    const { copy, nameless, plus } = this.#options.arithmetic;
    // Whether the other side reports a request as well decides in some dialects whether this one does.
    const retired = retiredEnds(ends.role, ends.destination.watched);
    const own = nameless(copy(counts), retired.pair);
    const key = this.#keyOf(source, retired, own);
    const there = this.#folded.get(key);
    if (there) this.#folded.set(key, { ...there, counts: plus(there.counts, own) });
    else this.#folded.set(key, { source, ends: retired, counts: own });
  }

  #keyOf(source: number, ends: Ends, counts: C): string {
    return `${source} ${ends.role} ${endsKey(ends)} ${this.#options.arithmetic.series(counts)}`;
  }
}

/** The ends of what has no name any more. */
export function retiredEnds(role: Role, watched: boolean): Ends {
  const nobody = { kind: 'world' } as const;
  const pair: Pair = { role, local: nobody, remote: nobody, port: 0, overflow: true };
  const destination = { ...UNKNOWN, watched };
  return { pair, role, source: UNKNOWN, destination, port: 0, overflow: true, retired: true };
}

/** What the coarsest dialect can tell apart: points of other names have nothing to do with each other. */
export function nameOf({ role, source, destination }: Ends): string {
  const labels = ({ service, namespace, workload }: Identity) => [service, namespace, workload];
  return JSON.stringify([role, ...labels(source), ...labels(destination)]);
}

/** Made once for each: a key is asked for several times, and takes microseconds. */
const keys = new WeakMap<Ends, string>();

function endsKey(ends: Ends): string {
  let key = keys.get(ends);
  if (key === undefined) {
    key = JSON.stringify([ends.source, ends.destination, ends.port]);
    keys.set(ends, key);
  }
  return key;
}
