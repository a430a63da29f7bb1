import { MeshtapError } from '../errors.js';

/** First and last character that a pattern is about: printable ASCII without the space, which ends a request target. */
export const ALPHABET = { first: 0x21, last: 0x7e } as const;

/** One step of a program. `out`, `first`, `second`: places of steps. */
export type Step =
  /** A character in one of the ranges, `[from, to, from, to, ...]`, within `ALPHABET`. */
  | { readonly op: 'char'; readonly ranges: readonly number[]; readonly out: number }
  | { readonly op: 'either'; readonly first: number; readonly second: number }
  /** Nothing stands before, nothing after. */
  | { readonly op: 'begin' | 'end'; readonly out: number }
  | { readonly op: 'match' }
  | { readonly op: 'fail' };

/** A pattern as a nondeterministic automaton. It matches a text from its first character to its last. */
export interface Program {
  readonly start: number;
  readonly steps: readonly Step[];
}

/** A pattern, ready to be compiled with others. */
export interface Pattern {
  /** As it was written. */
  readonly text: string;
  readonly program: Program;
}

/** A pattern that cannot be had: it is no pattern, can match nothing, or makes the automaton too large. */
export class PatternError extends MeshtapError {
  /** The pattern, as it was written. */
  readonly pattern: string;

  constructor(pattern: string, problem: string, hint?: string, cause?: unknown) {
    super('PATTERN_REFUSED', `the pattern ${JSON.stringify(pattern)} ${problem}`, {
      ...(hint && { hint }),
      cause,
    });
    this.name = 'PatternError';
    this.pattern = pattern;
  }
}

/** The part of `[from, to, ...]` that is in `ALPHABET`. */
export function inAlphabet(ranges: readonly number[]): number[] {
  const kept: number[] = [];
  for (let i = 0; i < ranges.length; i += 2) {
    const from = Math.max(ranges[i]!, ALPHABET.first);
    const to = Math.min(ranges[i + 1]!, ALPHABET.last);
    if (from <= to) kept.push(from, to);
  }
  return kept;
}
