import type { Automaton } from './automaton.js';
import { type Route, routeOf } from './route.js';
import type { CompiledRoutes, RouteScope } from './services.js';

/** Where things lie among the words of an image. */
export interface ImageLayout {
  readonly classes: number;
  /** By state: the choice among routes that there is if a path ends there. */
  readonly choiceOf: number;
  /** By choice and method: the id of the route. */
  readonly route: number;
  /** By scope: the state in which it begins, the choices of `/` and of `/index.html`, and a spare word. */
  readonly scope: number;
  readonly scopes: number;
  /** State in which `http://authority` begins. */
  readonly absolute: number;
}

/** Routes as the kernel has them: `struct route_table`. The first words are the automaton's transitions. */
export interface RouteImage extends ImageLayout {
  readonly words: Uint16Array;
  readonly classOf: Uint8Array;
}

export interface ImageOptions {
  /** By number: the methods that are told apart; undefined where it is not known which it was. */
  readonly methods: readonly (string | undefined)[];
  /** Words of a choice: a power of two, at least as many as there are methods. */
  readonly methodWords: number;
  readonly scopeWords: number;
  /** The names of scopes by their numbers; a number without a name has no routes. */
  readonly scopes: readonly (string | undefined)[];
  /** The id of a route's text. */
  readonly idOf: (text: string) => number;
  /** The id that says that none matches, and the one that nobody knows. */
  readonly other: number;
  readonly none: number;
}

/** The choice of states in which no path has a route, and the one of an authority that is complete. */
const NO_ROUTE = 0;
const AUTHORITY = 1;

/** Lays compiled routes out for the kernel. */
export function imageOf({ automaton, scopes }: CompiledRoutes, options: ImageOptions): RouteImage {
  const { stateCount, classCount, transitions, outputOf, outputs, starts } = automaton;
  const { methods, methodWords, scopeWords, idOf, other, none } = options;
  const nothing = vectorOf(methods, none, () => other);
  const vectors: number[][] = [nothing, nothing];
  const numbers = new Map<string, number>([[nothing.join(), NO_ROUTE]]);
  const choices = new Uint16Array(stateCount);
  for (const state of statesFrom(automaton, automaton.absolute))
    if (outputOf[state] !== 0) choices[state] = AUTHORITY;

  const choiceOfMatches = ({ routes }: RouteScope, matches: readonly number[]): number => {
    const id = (method: string | undefined) => {
      const route: Route | undefined = routeOf(routes, matches, method ?? '');
      return route ? idOf(route.pattern.text) : other;
    };
    const vector = vectorOf(methods, none, id);
    const key = vector.join();
    if (!numbers.has(key)) numbers.set(key, vectors.push(vector) - 1);
    return numbers.get(key)!;
  };
  for (const scope of scopes) {
    const start = starts.get(scope.name);
    if (start === undefined) continue;
    const known = new Map<number, number>();
    for (const state of statesFrom(automaton, start)) {
      const output = outputOf[state]!;
      if (!known.has(output)) known.set(output, choiceOfMatches(scope, outputs[output]!));
      choices[state] = known.get(output)!;
    }
  }

  const layout = {
    classes: classCount,
    choiceOf: transitions.length,
    route: transitions.length + stateCount,
    scope: transitions.length + stateCount + vectors.length * methodWords,
    scopes: options.scopes.length,
    absolute: automaton.absolute,
  };
  const words = new Uint16Array(layout.scope + layout.scopes * scopeWords);
  words.set(transitions);
  words.set(choices, layout.choiceOf);
  for (const [i, vector] of vectors.entries()) words.set(vector, layout.route + i * methodWords);
  for (const [i, name] of options.scopes.entries()) {
    const start = name === undefined ? undefined : starts.get(name);
    if (start === undefined) continue;
    const choice = (path: string) => choices[stateOf(automaton, start, path)]!;
    words.set([start, choice('/'), choice('/index.html')], layout.scope + i * scopeWords);
  }
  return { ...layout, words, classOf: automaton.classes };
}

/** What each method leads to. If it is not known which it was, what all lead to, or nobody knows. */
function vectorOf(
  methods: readonly (string | undefined)[],
  none: number,
  id: (method: string) => number,
): number[] {
  const known = methods.map((method) => (method === undefined ? undefined : id(method)));
  const all = new Set(known.filter((it) => it !== undefined));
  const unknown = all.size === 1 ? [...all][0]! : none;
  return known.map((it) => it ?? unknown);
}

/** All states that can be reached. */
function statesFrom({ transitions, classCount }: Automaton, start: number): Set<number> {
  const found = new Set([start]);
  for (const state of found)
    for (const next of transitions.subarray(state * classCount, (state + 1) * classCount))
      if (next !== 0) found.add(next);
  return found;
}

function stateOf({ transitions, classCount, classes }: Automaton, start: number, path: string): number {
  let state = start;
  for (const byte of Buffer.from(path)) state = transitions[state * classCount + classes[byte]!]!;
  return state;
}
