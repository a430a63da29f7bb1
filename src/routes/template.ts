import { normalisePath } from './normal-path.js';
import { type Pattern, PatternError, type Step } from './program.js';

/** What may stand for a parameter: `any` is one segment or a part of one. */
export type Shape = 'any' | 'number' | 'uuid' | 'hash' | 'date';

/** A part of a template's path. */
export type Part =
  | { readonly literal: string }
  | { readonly parameter: string; readonly shape: Shape }
  /** Everything that follows, if anything does. */
  | { readonly rest: true };

/** A route as people write it: `/details/{id}`, `/static/*`. */
export interface Template extends Pattern {
  readonly segments: readonly (readonly Part[])[];
}

/** Ranges of characters, and how many of them: `least` and, if there is an end, `most`. */
interface Run {
  readonly ranges: readonly number[];
  readonly least: number;
  readonly most?: number;
}

const DIGIT = [0x30, 0x39];
const HEX = [...DIGIT, 0x41, 0x46, 0x61, 0x66];
const NOT_SLASH = [0x21, 0x2e, 0x30, 0x7e];
const ANY = [0x21, 0x7e];
const DASH: Run = { ranges: [0x2d, 0x2d], least: 1, most: 1 };
const times = (ranges: readonly number[], count: number): Run => ({ ranges, least: count, most: count });

/** What the automaton takes for each shape; `src/routes/shape.ts` says the same of a single segment. */
const RUNS: Readonly<Record<Shape, readonly Run[]>> = {
  any: [{ ranges: NOT_SLASH, least: 1 }],
  number: [{ ranges: DIGIT, least: 1 }],
  uuid: [times(HEX, 8), DASH, times(HEX, 4), DASH, times(HEX, 4), DASH, times(HEX, 4), DASH, times(HEX, 12)],
  hash: [{ ranges: HEX, least: 16 }],
  date: [times(DIGIT, 4), DASH, times(DIGIT, 2), DASH, times(DIGIT, 2)],
};

/**
 * Reads a template. `{name}` stands for one segment, or a part of one, that is not empty; `*` as the last segment for
 * all that follows, be it nothing. All else stands for itself, in the normal form of paths: `/caf%c3%a9`, `/café` and
 * `/caf%C3%A9` are the same. Throws PATTERN_REFUSED.
 */
export function template(text: string): Template {
  if (!text.startsWith('/')) throw new PatternError(text, 'does not begin with /');
  const raw = text.slice(1).split('/');
  const segments = raw.map((segment, i) => segmentOf(text, segment, i === raw.length - 1));
  const names = segments.flat().flatMap((part) => ('parameter' in part ? [part.parameter] : []));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new PatternError(text, `has two parameters {${twice}}`);
  return templateOf(segments, text);
}

/** A template from its parts. */
export function templateOf(segments: readonly (readonly Part[])[], text = textOf(segments)): Template {
  return { text, segments, program: programOf(segments) };
}

function textOf(segments: readonly (readonly Part[])[]): string {
  const part = (p: Part) => ('literal' in p ? p.literal : 'rest' in p ? '*' : `{${p.parameter}}`);
  return segments.map((parts) => `/${parts.map(part).join('')}`).join('');
}

function segmentOf(text: string, segment: string, last: boolean): Part[] {
  if (segment === '*') {
    if (last) return [{ rest: true }];
    throw new PatternError(text, 'has * before its end', 'write {name} for one segment');
  }
  if (segment === '' && !last) throw new PatternError(text, 'has an empty segment, which no path has');
  return [...segment.matchAll(/\{([^{}]*)\}|[^{}]+|[{}]/g)].map(([part, name]): Part => {
    if (name !== undefined) {
      if (!/^[\w.-]+$/.test(name))
        throw new PatternError(text, `has a parameter without a name that can be read: ${part}`);
      return { parameter: name, shape: 'any' };
    }
    if (part === '{' || part === '}') throw new PatternError(text, `has a ${part} without its other half`);
    return { literal: literalOf(text, part, segment) };
  });
}

/** As it stands in a path in normal form. */
function literalOf(text: string, part: string, segment: string): string {
  const bytes = Buffer.from(part).toString('latin1');
  // A dot segment is one only if nothing else is in it.
  const padding = part === segment ? '' : '-';
  const normal = normalisePath(`/${padding}${bytes}`);
  if (normal === undefined || part.includes('?'))
    throw new PatternError(text, `has ${JSON.stringify(part)}, which is in no path in normal form`);
  return normal.slice(1 + padding.length);
}

/**
 * Which of two templates is more special: negative if it is the first. Segment by segment from the left, text goes
 * before text with parameters, that before a parameter of a shape, that before any parameter, that before `*`.
 */
export function bySpeciality(a: Template, b: Template): number {
  for (let i = 0; i < Math.max(a.segments.length, b.segments.length); i++) {
    const difference = vagueness(a.segments[i]) - vagueness(b.segments[i]);
    if (difference !== 0) return difference;
  }
  return 0;
}

function vagueness(parts: readonly Part[] | undefined): number {
  if (!parts || parts.length === 0) return 0;
  const [part] = parts;
  if ('rest' in part!) return 4;
  if (parts.length > 1) return 1;
  return 'literal' in part! ? 0 : part!.shape === 'any' ? 3 : 2;
}

function programOf(segments: readonly (readonly Part[])[]): Pattern['program'] {
  const steps: Step[] = [];
  const one = (ranges: readonly number[]) => steps.push({ op: 'char', ranges, out: steps.length + 1 });
  const add = ({ ranges, least, most }: Run) => {
    for (let i = 0; i < least; i++) one(ranges);
    if (most !== undefined) return;
    // Once more, or on.
    const here = steps.length;
    steps.push({ op: 'either', first: here + 1, second: here + 2 }, { op: 'char', ranges, out: here });
  };
  const literal = (text: string) => {
    for (const byte of Buffer.from(text)) one([byte, byte]);
  };
  for (const parts of segments) {
    literal('/');
    for (const part of parts) {
      if ('literal' in part) literal(part.literal);
      else if ('rest' in part) add({ ranges: ANY, least: 0 });
      else for (const run of RUNS[part.shape]) add(run);
    }
  }
  steps.push({ op: 'match' });
  return { start: 0, steps };
}
