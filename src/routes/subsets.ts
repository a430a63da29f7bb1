import { ALPHABET, type Pattern, type Step } from './program.js';

/** The state in which nothing can match any more. */
export const DEAD = -1;

/** What the work of making automata deterministic is held to. */
export interface Limit {
  /** Called with how much was done; throws when that is enough. */
  spend(steps: number): void;
}

/**
 * Several patterns as one deterministic automaton over `ALPHABET`, made as far as it is asked for (subset
 * construction, Rabin and Scott 1959). A state is the set of places where the programs may be.
 */
export class Subsets {
  readonly start: number;
  readonly #steps: Step[] = [];
  /** By the place of a `match`: whose. */
  readonly #owner: number[] = [];
  readonly #limit: Limit;
  readonly #ids = new Map<string, number>();
  readonly #sets: Int32Array[] = [];
  /** By state: what follows for each class of characters. */
  readonly #rows: (Int32Array | undefined)[] = [];
  readonly #classes = new Uint8Array(128);
  #classCount = 0;
  /** Places that were seen in the turn of this number. */
  readonly #seen: Int32Array;
  #turn = 0;

  constructor(patterns: readonly Pattern[], limit: Limit) {
    this.#limit = limit;
    const starts = patterns.map(({ program }, pattern) => {
      const base = this.#steps.length;
      for (const step of program.steps) {
        this.#steps.push(moved(step, base));
        this.#owner.push(pattern);
      }
      return base + program.start;
    });
    this.#seen = new Int32Array(this.#steps.length);
    this.#divide();
    // A state of its own, whatever else has the same places: only there the text begins.
    this.start = this.#sets.push(this.#closure(starts, { begin: true })) - 1;
  }

  /** The state behind a character of `ALPHABET`. */
  next(state: number, character: number): number {
    if (state === DEAD) return DEAD;
    this.#rows[state] ??= this.#row(this.#sets[state]!);
    return this.#rows[state]![this.#classes[character]!]!;
  }

  /** Characters of the same class lead from each state to the same. */
  classOf(character: number): number {
    return this.#classes[character]!;
  }

  /** The patterns that match what led to this state, ascending. */
  matches(state: number): number[] {
    if (state === DEAD) return [];
    const at = this.#closure([...this.#sets[state]!], { begin: state === this.start, end: true });
    return [
      ...new Set([...at].filter((i) => this.#steps[i]!.op === 'match').map((i) => this.#owner[i]!)),
    ].sort((a, b) => a - b);
  }

  /** Characters that no program tells apart are of one class. */
  #divide(): void {
    const borders = new Uint8Array(130);
    for (const step of this.#steps) {
      if (step.op !== 'char') continue;
      for (let i = 0; i < step.ranges.length; i += 2) {
        borders[step.ranges[i]!] = 1;
        borders[step.ranges[i + 1]! + 1] = 1;
      }
    }
    let last = 0;
    for (let c = ALPHABET.first; c <= ALPHABET.last; c++) {
      if (borders[c] && c > ALPHABET.first) last++;
      this.#classes[c] = last;
    }
    this.#classCount = last + 1;
  }

  #row(set: Int32Array): Int32Array {
    this.#limit.spend(this.#classCount);
    const targets: number[][] = Array.from({ length: this.#classCount }, () => []);
    for (const place of set) {
      const step = this.#steps[place]!;
      if (step.op !== 'char') continue;
      for (let i = 0; i < step.ranges.length; i += 2) {
        const last = this.#classes[step.ranges[i + 1]!]!;
        for (let c = this.#classes[step.ranges[i]!]!; c <= last; c++) targets[c]!.push(step.out);
      }
    }
    return Int32Array.from(targets, (places) => {
      const set = this.#closure(places);
      return set.length === 0 ? DEAD : this.#idOf(set);
    });
  }

  #idOf(set: Int32Array): number {
    const key = set.join();
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const id = this.#sets.push(set) - 1;
    this.#ids.set(key, id);
    return id;
  }

  /** Where one can be without a character more, where an assertion is passed or stays to be decided. Sorted. */
  #closure(places: readonly number[], { begin = false, end = false } = {}): Int32Array {
    const open = [...places];
    const kept: number[] = [];
    this.#turn++;
    let steps = 0;
    while (open.length > 0) {
      const place = open.pop()!;
      if (this.#seen[place] === this.#turn) continue;
      this.#seen[place] = this.#turn;
      steps++;
      const step = this.#steps[place]!;
      if (step.op === 'either') open.push(step.second, step.first);
      else if (step.op === 'begin') begin && open.push(step.out);
      else if (step.op === 'end' && end) open.push(step.out);
      else if (step.op !== 'fail') kept.push(place);
    }
    this.#limit.spend(steps);
    return Int32Array.from(kept).sort();
  }
}

function moved(step: Step, by: number): Step {
  if (step.op === 'either') return { ...step, first: step.first + by, second: step.second + by };
  return 'out' in step ? { ...step, out: step.out + by } : step;
}
