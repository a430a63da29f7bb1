import { MeshtapError } from '../errors.js';
import { SYMBOLS } from './path-symbols.js';
import { regex } from './regex.js';
import { type CompiledScope, compileScope, type Scope } from './scope.js';

/**
 * All scopes in one table, laid out for the kernel. State 0 is the one in which nothing matches any more. From a
 * state, a symbol leads to `transitions[state * classCount + classes[symbol]]`. See docs/routes.md for what is a symbol.
 */
export interface Automaton {
  readonly stateCount: number;
  readonly classCount: number;
  /** By symbol: a byte as it stands, or 256 and the byte that `%XX` stands for. */
  readonly classes: Uint8Array;
  readonly transitions: Uint16Array;
  /** By state: which of `outputs` it has if the text ends there; 0 for none. */
  readonly outputOf: Uint16Array;
  /** Numbers of patterns within their scope, the best first. */
  readonly outputs: readonly (readonly number[])[];
  /** By the name of a scope. */
  readonly starts: ReadonlyMap<string, number>;
  /** Where to begin with a target that does not begin with a slash; see `walkPath`. */
  readonly absolute: number;
}

/** What an automaton may take. */
export interface Limits {
  /** @default 65535 which is also the most there can be */
  states?: number;
  /** Of the table. @default 16 MiB */
  bytes?: number;
}

export const MOST_STATES = 65_535;
const MOST_CLASSES = 256;
const MOST_BYTES = 16 * 2 ** 20;

/** `http://authority`, up to where its path begins. */
const ABSOLUTE: Scope = {
  name: 'absolute-form',
  of: 'text',
  patterns: [regex('(?i:https?)://[^/?#@\\\\]+')],
};

/** What is looked at for a state of literal text is a few dozen. */
const WORK_PER_STATE = 512;
/** States on the way for each one that is left when those that do the same are one. */
const STATES_BEFORE = 2;

/**
 * Compiles scopes to automata. Remembers what it compiled last time, so that a change of one scope costs no more than
 * that scope.
 */
export class Compiler {
  #known = new Map<string, CompiledScope>();
  readonly #states: number;
  readonly #bytes: number;

  /** Throws USAGE where a limit is none. */
  constructor({ states = MOST_STATES, bytes = MOST_BYTES }: Limits = {}) {
    if (!(states >= 1 && states <= MOST_STATES))
      throw new MeshtapError('USAGE', `an automaton has 1 to ${MOST_STATES} states, not ${states}`);
    this.#states = states;
    this.#bytes = bytes;
  }

  /**
   * One automaton for all scopes; those that have the same patterns share their states. Throws PATTERN_REFUSED with the
   * pattern that matches nothing or is too much; it then still has what it had.
   */
  compile(scopes: readonly Scope[]): Automaton {
    const parts = new Map<string, CompiledScope>();
    let all = new Parts();
    const fits = (compiled: CompiledScope) => {
      const { stateCount, classCount } = all.with(compiled);
      const bytes = stateCount * classCount * Uint16Array.BYTES_PER_ELEMENT;
      return stateCount <= this.#states && classCount <= MOST_CLASSES && bytes <= this.#bytes;
    };
    for (const scope of [ABSOLUTE, ...scopes]) {
      const key = keyOf(scope);
      if (parts.has(key)) continue;
      const before = this.#known.get(key);
      const budget = { fits, work: this.#states * WORK_PER_STATE, states: this.#states * STATES_BEFORE };
      const compiled = before && fits(before) ? before : compileScope(scope, budget);
      parts.set(key, compiled);
      all = all.with(compiled);
    }
    this.#known = parts;
    const starts = new Map([...parts.keys()].map((key, i) => [key, all.startOf(i)]));
    return {
      ...all.link(),
      starts: new Map(scopes.map((scope) => [scope.name, starts.get(keyOf(scope))!])),
      absolute: starts.get(keyOf(ABSOLUTE))!,
    };
  }
}

/** Scopes of the same key are the same but for their names. */
const keyOf = ({ of, patterns }: Scope): string =>
  JSON.stringify([of, patterns.map(({ text, program }) => [text, program])]);

/** Compiled scopes side by side, and what they take together. */
class Parts {
  readonly stateCount: number = 1;
  readonly classCount: number = 1;
  readonly #parts: readonly CompiledScope[] = [];
  /** By symbol. Two symbols are of one class if all parts take them for the same. */
  readonly #classes: Uint16Array = new Uint16Array(SYMBOLS);

  constructor(before?: Parts, part?: CompiledScope) {
    if (!before || !part) return;
    this.#parts = [...before.#parts, part];
    this.stateCount = before.stateCount + part.states;
    const ids = new Map<number, number>();
    this.#classes = before.#classes.map((c, symbol) => {
      const key = c * SYMBOLS + part.labels[symbol]!;
      if (!ids.has(key)) ids.set(key, ids.size);
      return ids.get(key)!;
    });
    this.classCount = ids.size;
  }

  with(part: CompiledScope): Parts {
    return new Parts(this, part);
  }

  /** The state in which a part begins. */
  startOf(index: number): number {
    const before = this.#parts.slice(0, index).reduce((sum, { states }) => sum + states, 1);
    return before + this.#parts[index]!.start;
  }

  link(): Omit<Automaton, 'starts' | 'absolute'> {
    const { stateCount, classCount } = this;
    const transitions = new Uint16Array(stateCount * classCount);
    const outputOf = new Uint16Array(stateCount);
    const outputs: (readonly number[])[] = [[]];
    const outputIds = new Map<string, number>([['', 0]]);
    let base = 1;
    for (const part of this.#parts) {
      const classesOf = this.#classesByLabel(part);
      for (let i = 0; i < part.from.length; i++) {
        const row = (base + part.from[i]!) * classCount;
        for (const c of classesOf[part.label[i]!]!) transitions[row + c] = base + part.to[i]!;
      }
      const ids = part.matches.map((matches) => {
        const key = matches.join();
        if (!outputIds.has(key)) outputIds.set(key, outputs.push(matches) - 1);
        return outputIds.get(key)!;
      });
      for (let state = 0; state < part.states; state++) outputOf[base + state] = ids[part.outputs[state]!]!;
      base += part.states;
    }
    return {
      stateCount,
      classCount,
      classes: Uint8Array.from(this.#classes),
      transitions,
      outputOf,
      outputs,
    };
  }

  #classesByLabel({ labels, labelCount }: CompiledScope): number[][] {
    const classes = Array.from({ length: labelCount }, () => new Set<number>());
    this.#classes.forEach((c, symbol) => {
      classes[labels[symbol]!]!.add(c);
    });
    return classes.map((set) => [...set]);
  }
}
