import { type Identity, UNKNOWN } from '../identity/identity.js';
import type { Counted, Pair } from '../receivers/counts.js';
import { Ended, type EndedOptions, type EndedRow, nameOf, type Part } from './ended.js';
import type { Ends, Row } from './model.js';

/** One life of a series, as long as its receiver shows it. */
interface Life<C> {
  /** As it was called when it was seen last. */
  ends: Ends;
  name: string;
  counts: C;
  /** What of it belongs to names that it had before. */
  earlier: readonly Part<C>[];
  /** Among what ended: it counts there, and waits for its release. */
  kept: boolean;
  token: string | undefined;
  final: boolean;
}

/** What one source shows. */
export interface Seen<C extends Counted> {
  readonly rows: readonly Row<C>[];
  /** Pairs whose rows are not among these, and will be. */
  readonly held: ReadonlySet<Pair>;
}

/** What was counted under each name, of rows of one kind: see `attribution.ts`. */
export class History<C extends Counted> {
  readonly #options: EndedOptions<C>;
  /** By source, then by the object that stands for the life. */
  readonly #lives: Map<object, Life<C>>[] = [];
  /** Stands for the life of a series that has none of its own. */
  readonly #ofPair = new WeakMap<Pair, Map<string, object>>();
  readonly #ended: Ended<C>;
  /** Tokens of lives that an earlier process kept. */
  #keptBefore: ReadonlySet<string> = new Set();

  constructor(options: EndedOptions<C>) {
    this.#options = options;
    this.#ended = new Ended(options);
  }

  /** Rows of what ended. */
  get size(): number {
    return this.#ended.size;
  }

  /** Begins with what an earlier process kept. */
  restore(rows: readonly EndedRow<C>[], tokens: readonly string[]): void {
    for (const row of rows) this.#ended.add(row.source, { ...row, name: nameOf(row.ends) });
    this.#keptBefore = new Set([...this.#keptBefore, ...tokens]);
  }

  /** Takes a sweep in, by source. True if there is something new to keep before it may be reported. */
  take(sweeps: readonly Seen<C>[], limit: number): boolean {
    const gone = sweeps.flatMap((seen, source) => this.#see(source, seen));
    // Whoever is held back may be one of them.
    if (sweeps.every(({ held }) => held.size === 0)) this.#keptBefore = new Set();
    const alive = this.#aliveNames();
    this.#ended.begin(alive);
    for (const { source, life } of gone) this.#keep(source, life);
    const kept = this.#keepWhatEnded(alive, limit);
    return kept || gone.length > 0;
  }

  /** All rows as they are to be reported. */
  *rows(): Generator<Row<C>> {
    for (const lives of this.#lives) {
      for (const life of lives.values()) if (!life.kept) yield* this.#partsOf(life);
    }
    yield* this.#ended.rows();
  }

  /** All that ended, and what of it has no name any more. */
  endedRows(): Iterable<EndedRow<C>> {
    return this.#ended.rows();
  }

  /** Tokens of all lives that are kept and not yet released, or only of those that may be. */
  tokensOf(source: number, { final = false } = {}): string[] {
    const tokens = [...(this.#lives[source]?.values() ?? [])].flatMap((life) =>
      life.kept && life.token !== undefined && (life.final || !final) ? [life.token] : [],
    );
    return final ? tokens : [...tokens, ...this.#keptBefore];
  }

  /** Notes what a source shows, and returns what it shows no more although it never said that it ended. */
  #see(source: number, { rows, held }: Seen<C>): { source: number; life: Life<C> }[] {
    const before = this.#lives[source] ?? new Map<object, Life<C>>();
    const now = new Map<object, Life<C>>();
    for (const { ends, counts } of rows) {
      const key = counts.life ?? this.#lifeOf(counts);
      const life = before.get(key) ?? this.#begin(ends, counts);
      before.delete(key);
      now.set(key, life);
      life.token = counts.ending?.token;
      life.final = counts.ending?.final ?? false;
      if (life.kept) continue;
      if (!ends.overflow && !sameNames(life.ends, ends)) this.#rename(life, ends);
      life.ends = ends;
      life.counts = counts;
    }
    this.#lives[source] = now;
    const gone: { source: number; life: Life<C> }[] = [];
    for (const [key, life] of before) {
      // What is held back goes on, and is reported as it was until then.
      if (held.has(life.ends.pair)) now.set(key, life);
      else if (!life.kept) gone.push({ source, life });
    }
    return gone;
  }

  #lifeOf(counts: C): object {
    let lives = this.#ofPair.get(counts.pair);
    if (!lives) {
      lives = new Map();
      this.#ofPair.set(counts.pair, lives);
    }
    const series = this.#options.arithmetic.series(counts);
    const life = lives.get(series) ?? {};
    lives.set(series, life);
    return life;
  }

  #begin(ends: Ends, counts: C): Life<C> {
    const token = counts.ending?.token;
    const kept = token !== undefined && this.#keptBefore.has(token);
    return { ends, name: nameOf(ends), counts, earlier: [], kept, token, final: false };
  }

  #rename(life: Life<C>, ends: Ends): void {
    const { copy, isZero, plus } = this.#options.arithmetic;
    const own = this.#own(life);
    const there = life.earlier.find((part) => sameNames(part.ends, life.ends));
    if (there)
      life.earlier = life.earlier.map((part) =>
        part === there ? { ...part, counts: plus(part.counts, own) } : part,
      );
    else if (!isZero(own))
      life.earlier = [...life.earlier, { ends: life.ends, name: life.name, counts: copy(own) }];
    life.name = nameOf(ends);
  }

  #own({ counts, earlier }: Life<C>): C {
    const { minus } = this.#options.arithmetic;
    return earlier.reduce((own, part) => minus(own, part.counts), counts);
  }

  #partsOf(life: Life<C>): readonly Part<C>[] {
    const { ends, name, earlier } = life;
    const counts = this.#own(life);
    // Whose name was taken away, and who did nothing since: that nobody did nothing is no news.
    if (earlier.length > 0 && isUnknown(ends) && this.#options.arithmetic.isZero(counts)) return earlier;
    return [...earlier, { ends, name, counts }];
  }

  #keep(source: number, life: Life<C>): void {
    for (const part of this.#partsOf(life)) this.#ended.add(source, part);
    life.kept = true;
  }

  /** Names of points that can grow. */
  #aliveNames(): Set<string> {
    const alive = new Set<string>();
    for (const lives of this.#lives) {
      for (const { kept, final, name, earlier } of lives.values()) {
        if (kept || final) continue;
        alive.add(name);
        for (const part of earlier) alive.add(part.name);
      }
    }
    return alive;
  }

  /** Where there is no room for what ended, its names are folded; if they live, it stays with its receiver. */
  #keepWhatEnded(alive: ReadonlySet<string>, limit: number): boolean {
    const ended = this.#lives.flatMap((lives, source) =>
      [...lives.values()].filter(({ kept, final }) => final && !kept).map((life) => ({ source, life })),
    );
    for (const { source, life } of ended) {
      const parts = this.#partsOf(life);
      const hasRoom = this.#ended.makeRoom(source, parts, limit);
      if (!hasRoom && parts.some(({ name }) => alive.has(name))) continue;
      if (!hasRoom) for (const { name } of parts) this.#ended.fold(name);
      this.#keep(source, life);
    }
    const folded = this.#ended.foldOld();
    for (const { source, life } of ended) {
      if (!life.kept && this.#partsOf(life).some(({ name }) => this.#ended.isFolding(name)))
        this.#keep(source, life);
    }
    return folded || ended.some(({ life }) => life.kept);
  }
}

function isUnknown({ source, destination }: Ends): boolean {
  return [source, destination].some(({ service }) => service === UNKNOWN.service);
}

function sameNames(a: Ends, b: Ends): boolean {
  return sameIdentity(a.source, b.source) && sameIdentity(a.destination, b.destination);
}

function sameIdentity(a: Identity, b: Identity): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
