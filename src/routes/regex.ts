/**
 * Regular expressions as RE2 reads them (github.com/google/re2/wiki/Syntax), which is what Envoy, and so Cilium, takes
 * for an "extended POSIX regular expression". re2js is a port of RE2: its parser and its compiler give the program;
 * what it would do with that at run time is done by the automaton here.
 *
 * @module
 */
import { RE2JS, RE2JSException } from 're2js';
import { escaped } from './normal-path.js';
import { inAlphabet, type Pattern, PatternError, type Step } from './program.js';

export interface RegexOptions {
  /** @default false */
  ignoreCase?: boolean;
}

/** A regular expression for the whole text. Throws PATTERN_REFUSED. */
export function regex(text: string, { ignoreCase = false }: RegexOptions = {}): Pattern {
  const { inst, start } = programOf(text, ignoreCase);
  return { text, program: { start, steps: inst.map((instruction) => stepOf(text, instruction)) } };
}

/** RE2's program as re2js has it (class Prog, class Inst), like Go's regexp/syntax.Prog. */
interface Prog {
  readonly inst: readonly Inst[];
  readonly start: number;
}

interface Inst {
  readonly op: number;
  readonly out: number;
  readonly arg: number;
  readonly runes: ArrayLike<number>;
}

/** Of re2js' class Inst. */
const OP = {
  alt: 1,
  altMatch: 2,
  capture: 3,
  emptyWidth: 4,
  fail: 5,
  match: 6,
  nop: 7,
  rune: 8,
  rune1: 9,
  runeAny: 10,
  runeAnyNotNewline: 11,
} as const;

/** Of re2js' class Utils. There are no lines in what is matched: they begin and end where the text does. */
const BEGIN = 1 | 4;
const END = 2 | 8;

const FOLD_CASE = 1;
const LAST_RUNE = 0x10ffff;

function programOf(text: string, ignoreCase: boolean): Prog {
  try {
    return RE2JS.compile(text, ignoreCase ? RE2JS.CASE_INSENSITIVE : 0).re2().prog;
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    const reason = error.message.replace(/^error parsing regexp: /, '');
    throw new PatternError(
      text,
      `is no regular expression of RE2: ${reason}`,
      'RE2 has no backreferences and does not look ahead or behind',
    );
  }
}

function stepOf(text: string, { op, out, arg, runes }: Inst): Step {
  switch (op) {
    case OP.alt:
    case OP.altMatch:
      return { op: 'either', first: out, second: arg };
    case OP.capture:
    case OP.nop:
      return { op: 'either', first: out, second: out };
    case OP.emptyWidth:
      return assertion(text, arg, out);
    case OP.fail:
      return { op: 'fail' };
    case OP.match:
      return { op: 'match' };
    case OP.rune:
    case OP.rune1:
      return { op: 'char', ranges: characters(text, [...Array.from(runes)], (arg & FOLD_CASE) !== 0), out };
    case OP.runeAny:
    case OP.runeAnyNotNewline:
      return { op: 'char', ranges: inAlphabet([0, LAST_RUNE]), out };
    default:
      throw new PatternError(text, `has a part that is not understood (re2js instruction ${op})`);
  }
}

function assertion(text: string, which: number, out: number): Step {
  if ((which & ~BEGIN) === 0) return { op: 'begin', out };
  if ((which & ~END) === 0) return { op: 'end', out };
  throw new PatternError(text, 'asks for a word boundary, which is not supported', 'leave out \\b and \\B');
}

function characters(text: string, runes: readonly number[], fold: boolean): number[] {
  const [one] = runes;
  const ranges = runes.length === 1 ? (fold ? bothCases(one!) : [one!, one!]) : runes;
  const kept = inAlphabet(ranges);
  if (kept.length === 0 && ranges.length > 0 && ranges.every((rune) => rune > 0x7f)) {
    const letter = String.fromCodePoint(ranges[0]!);
    const hint = `write it as it is sent: ${[...Buffer.from(letter)].map(escaped).join('')}`;
    throw new PatternError(
      text,
      `asks for ${JSON.stringify(letter)}, which is percent-encoded in a request`,
      hint,
    );
  }
  return kept;
}

function bothCases(rune: number): number[] {
  const letter = String.fromCodePoint(rune);
  return [letter.toLowerCase(), letter.toUpperCase()].flatMap((c) => [c.codePointAt(0)!, c.codePointAt(0)!]);
}
