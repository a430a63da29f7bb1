import { type Graph, minimise } from './minimise.js';
import { pathSource, plainSource, type Source, SYMBOLS } from './path-symbols.js';
import { type Pattern, PatternError } from './program.js';
import { DEAD, Subsets } from './subsets.js';

/** Patterns that are asked together: those of one service, one policy. */
export interface Scope {
  readonly name: string;
  /** `path`: the normal form of a path is matched. `text`: what stands there, such as a method or a host. */
  readonly of: 'path' | 'text';
  /** The best first. */
  readonly patterns: readonly Pattern[];
}

/** A scope, compiled. */
export interface CompiledScope extends Graph {
  /** By symbol, the label of its transitions. */
  readonly labels: Uint16Array;
  readonly labelCount: number;
  /** By output: the numbers of the patterns that match, the best first. The first is that of nothing. */
  readonly matches: readonly (readonly number[])[];
}

/** What a scope may take. */
export interface Budget {
  /** Whether there is room for it beside all others. */
  fits(compiled: CompiledScope): boolean;
  /**
   * Steps of patterns that may be looked at and transitions that may be made on the way, which is what time and memory
   * depend on.
   */
  readonly work: number;
  /** States that there may be before those that do the same become one. */
  readonly states: number;
}

/**
 * Compiles a scope. Throws PATTERN_REFUSED, naming the pattern that matches nothing, or the first one with which the
 * automaton exceeds its budget.
 */
export function compileScope(scope: Scope, budget: Budget): CompiledScope {
  const compiled = attempt(scope, budget);
  if (!compiled) throw tooMuch(scope, budget);
  const matched = new Set(compiled.matches.flat());
  const idle = scope.patterns.find((_, i) => !matched.has(i));
  if (idle) throw nothing(scope, idle);
  return compiled;
}

function nothing({ of }: Scope, { text }: Pattern): PatternError {
  const hint =
    of === 'path'
      ? 'Paths begin with /, end before the query, and are matched in their normal form, from beginning to end'
      : 'It is matched from beginning to end, and there are no spaces';
  return new PatternError(text, of === 'path' ? 'matches no path' : 'matches nothing', hint);
}

/**
 * Whom to blame: the first pattern that is too much by itself; else the last of the shortest beginning of the list that is,
 * as far as the budget's work suffices to look for it.
 */
function tooMuch(scope: Scope, budget: Budget): PatternError {
  const { patterns } = scope;
  const fits = (some: readonly Pattern[], spent?: (work: number) => void) =>
    attempt({ ...scope, patterns: some }, budget, spent) !== undefined;
  const blame = (pattern: Pattern, before: string) =>
    new PatternError(
      pattern.text,
      `makes the automaton of ${scope.name} too large, ${before}`,
      'Counted repetitions and several .* in one pattern are what takes many states',
    );
  const alone = patterns.find((pattern) => !fits([pattern]));
  if (alone) return blame(alone, 'by itself');
  let work = 0;
  const spent = (more: number) => {
    work += more;
  };
  let [enough, exceeds] = [1, patterns.length];
  while (exceeds - enough > 1 && work < budget.work) {
    const middle = (enough + exceeds) >>> 1;
    if (fits(patterns.slice(0, middle), spent)) enough = middle;
    else exceeds = middle;
  }
  return blame(patterns[exceeds - 1]!, `together with the ${exceeds - 1} before it`);
}

class Exceeded extends Error {}

/** Undefined if the budget does not suffice. */
function attempt(
  scope: Scope,
  budget: Budget,
  spent: (work: number) => void = () => {},
): CompiledScope | undefined {
  let work = 0;
  const spend = (steps: number) => {
    work += steps;
    if (work > budget.work) throw new Exceeded();
  };
  try {
    const subsets = new Subsets(scope.patterns, { spend });
    const compiled = explore(
      scope.of === 'path' ? pathSource(subsets) : plainSource(subsets),
      budget.states,
      spend,
    );
    return budget.fits(compiled) ? compiled : undefined;
  } catch (error) {
    if (error instanceof Exceeded) return undefined;
    throw error;
  } finally {
    spent(work);
  }
}

/** Goes to every state there is. */
function explore(source: Source, most: number, spend: (work: number) => void): CompiledScope {
  const kinds = kindsOf(source);
  const ids = new Map<number, number>([[source.start, 0]]);
  const states = [source.start];
  const [from, label, to, outputs]: number[][] = [[], [], [], []];
  const outputIds = new Map<string, number>([['', 0]]);
  const matches: number[][] = [[]];
  let transitions = 0;
  for (let id = 0; id < states.length; id++) {
    if (states.length > most) throw new Exceeded();
    const state = states[id]!;
    const matched = source.matches(state);
    const key = matched.join();
    if (!outputIds.has(key)) outputIds.set(key, matches.push(matched) - 1);
    outputs!.push(outputIds.get(key)!);
    kinds.symbols.forEach((symbol, kind) => {
      const next = source.next(state, symbol);
      if (next === DEAD) return;
      if (!ids.has(next)) ids.set(next, states.push(next) - 1);
      from!.push(id);
      label!.push(kind);
      to!.push(ids.get(next)!);
    });
    spend(matched.length + from!.length - transitions);
    transitions = from!.length;
  }
  const graph = minimise({
    states: states.length,
    start: 0,
    outputs: Int32Array.from(outputs!),
    from: Int32Array.from(from!),
    label: Int32Array.from(label!),
    to: Int32Array.from(to!),
  });
  return { ...graph, ...mergeLabels(graph, kinds.ofSymbol), matches };
}

/** Symbols of one kind lead from each state to the same, so that one of them is enough to look. */
function kindsOf(source: Source): { symbols: number[]; ofSymbol: Int32Array } {
  const ids = new Map<string, number>();
  const symbols: number[] = [];
  const ofSymbol = Int32Array.from({ length: SYMBOLS }, (_, symbol) => {
    const kind = source.kindOf(symbol);
    if (!ids.has(kind)) ids.set(kind, symbols.push(symbol) - 1);
    return ids.get(kind)!;
  });
  return { symbols, ofSymbol };
}

/** Kinds that are the same in every state get one label. */
function mergeLabels({ from, label, to }: Graph, ofSymbol: Int32Array) {
  const columns = new Map<number, string[]>();
  const order = Int32Array.from(from, (_, i) => i).sort((a, b) => from[a]! - from[b]!);
  for (const i of order) {
    if (!columns.has(label[i]!)) columns.set(label[i]!, []);
    columns.get(label[i]!)!.push(`${from[i]}>${to[i]}`);
  }
  const ids = new Map<string, number>([['', 0]]);
  const merged = new Map<number, number>();
  for (const [kind, column] of columns) {
    const key = column.join();
    if (!ids.has(key)) ids.set(key, ids.size);
    merged.set(kind, ids.get(key)!);
  }
  const first = new Map<number, number>();
  for (const [kind, id] of merged) if (!first.has(id)) first.set(id, kind);
  const kept = [...from.keys()].filter((i) => first.get(merged.get(label[i]!)!) === label[i]);
  return {
    labels: Uint16Array.from(ofSymbol, (kind) => merged.get(kind) ?? 0),
    labelCount: ids.size,
    from: Int32Array.from(kept, (i) => from[i]!),
    label: Int32Array.from(kept, (i) => merged.get(label[i]!)!),
    to: Int32Array.from(kept, (i) => to[i]!),
  };
}
