/**
 * The normal form of paths as a part of the automaton, so that whoever walks it needs no more than a table: each byte
 * of a target is one symbol, and `%XX` is one too. What `normal-path.ts` says in words of strings, this says in states.
 *
 * @module
 */
import { escaped, isNeverInPath, isNeverRaw, isUnreserved } from './normal-path.js';
import { ALPHABET } from './program.js';
import { DEAD, type Subsets } from './subsets.js';

/** A byte as it stands is a symbol, and so is `ESCAPED` and the byte that `%XX` stands for. */
export const ESCAPED = 256;
export const SYMBOLS = 512;

/** Where in a path we are. Part of a state. */
const Place = {
  /** Before the first slash. */
  start: 0,
  /** Behind a slash: more of them do not count. */
  slash: 1,
  /** Behind an encoded slash. */
  begin: 2,
  /** Behind `.` that began a segment. */
  dot: 3,
  /** Behind `..` that began a segment. */
  dots: 4,
  middle: 5,
} as const;
type Place = (typeof Place)[keyof typeof Place];
const PLACES = 6;

/** An automaton over symbols, made as it is asked for. States are numbers, `DEAD` among them. */
export interface Source {
  readonly start: number;
  next(state: number, symbol: number): number;
  matches(state: number): number[];
  /** Symbols with the same answer are told apart by no state. */
  kindOf(symbol: number): string;
}

/** Symbols are characters, nothing more: methods, hosts. */
export function plainSource(subsets: Subsets): Source {
  const isCharacter = (symbol: number) => symbol >= ALPHABET.first && symbol <= ALPHABET.last;
  return {
    start: subsets.start,
    next: (state, symbol) => (isCharacter(symbol) ? subsets.next(state, symbol) : DEAD),
    matches: (state) => subsets.matches(state),
    kindOf: (symbol) => (isCharacter(symbol) ? String(subsets.classOf(symbol)) : ''),
  };
}

/** What is matched is the normal form of the path that the symbols are. */
export function pathSource(subsets: Subsets): Source {
  const stateOf = (inner: number, place: Place) => (inner === DEAD ? DEAD : inner * PLACES + place);

  const next = (state: number, symbol: number): number => {
    const place = (state % PLACES) as Place;
    const inner = (state - place) / PLACES;
    const text = TEXTS[symbol];
    if (text === undefined) return DEAD;
    if (place === Place.start && text !== '/') return DEAD;
    const [ends, divides] = [endsSegment(text), dividesSegments(text)];
    if ((place === Place.dot || place === Place.dots) && ends) return DEAD;
    if (place === Place.slash && text === '/') return state;
    let to = inner;
    for (let i = 0; i < text.length && to !== DEAD; i++) to = subsets.next(to, text.charCodeAt(i));
    return stateOf(to, divides ? (text === '/' ? Place.slash : Place.begin) : behind(place, text));
  };

  return {
    start: stateOf(subsets.start, Place.start),
    next,
    matches: (state) => {
      const place = (state % PLACES) as Place;
      if (place === Place.start || place === Place.dot || place === Place.dots) return [];
      return subsets.matches((state - place) / PLACES);
    },
    kindOf: (symbol) => {
      const text = TEXTS[symbol];
      if (text === undefined) return '';
      const role = text === '.' || endsSegment(text) ? text : '';
      return `${role} ${[...text].map((c) => subsets.classOf(c.charCodeAt(0))).join()}`;
    },
  };
}

const dividesSegments = (text: string) => text === '/' || text === '%2F' || text === '%5C';
const endsSegment = (text: string) => dividesSegments(text) || text === ';' || text === '%3B';

function behind(place: Place, text: string): Place {
  if (text !== '.') return Place.middle;
  if (place === Place.slash || place === Place.begin) return Place.dot;
  return place === Place.dot ? Place.dots : Place.middle;
}

/** By symbol: what it is in normal form; undefined where it makes a path refused. */
const TEXTS: readonly (string | undefined)[] = Array.from({ length: SYMBOLS }, (_, symbol) => {
  const byte = symbol % ESCAPED;
  if (isNeverInPath(byte)) return undefined;
  if (symbol >= ESCAPED) return isUnreserved(byte) ? String.fromCharCode(byte) : escaped(byte);
  if (isNeverRaw(byte) || byte === 0x25 || byte === 0x3f) return undefined;
  return byte >= 0x80 ? escaped(byte) : String.fromCharCode(byte);
});
