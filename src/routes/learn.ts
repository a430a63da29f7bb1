import { normalisePath } from './normal-path.js';
import { shapeOf } from './shape.js';
import { bySpeciality, type Part, type Shape, type Template, templateOf } from './template.js';

export interface LearnOptions {
  /** Templates of one service, but for the last, `/*`. @default 100 */
  templates?: number;
  /** How often a path of the same template is seen before there is one. @default 3 */
  support?: number;
  /** Words that may stand in one place before it is taken for a parameter. @default 20 */
  words?: number;
}

/** Segments that are looked at; longer paths are not learned. */
const MOST_SEGMENTS = 12;
/** Places in paths that are remembered for each template that there may be. */
const NODES_PER_TEMPLATE = 40;

const NAMES: Readonly<Record<Shape, string>> = {
  any: 'name',
  number: 'id',
  uuid: 'uuid',
  hash: 'hash',
  date: 'date',
};

/** A place in paths, and what was seen behind it. */
interface Node {
  readonly parts: readonly Part[];
  /** Words by themselves, shapes in braces. */
  readonly children: Map<string, Node>;
  words: number;
  /** Once there were too many words: for all that has no child. */
  any: Node | undefined;
  /** Paths that end here. */
  seen: number;
  /** Templates that begin with this. */
  learned: number;
  known: boolean;
}

const node = (parts: readonly Part[]): Node => ({
  parts,
  children: new Map(),
  words: 0,
  any: undefined,
  seen: 0,
  learned: 0,
  known: false,
});

/**
 * Learns the templates of one service from the paths of its requests. Those that look like a number, a UUID, a hash or a
 * date become parameters, and so does a place where there are many different words.
 *
 * What was learned stays: a path that has a template keeps it, whatever is seen later. Everything is bounded; what finds no
 * room stays with `/*`, the last template. To be given paths that the service knew: what a scanner asks for is not
 * what a service has.
 */
export class RouteLearner {
  readonly #templates: Template[] = [];
  readonly #root = node([]);
  readonly #options: Required<LearnOptions>;
  #nodes = 0;

  constructor({ templates = 100, support = 3, words = 20 }: LearnOptions = {}) {
    this.#options = { templates, support, words };
  }

  /**
   * A path that was asked for.
   * @param target as in the request, one character for each byte
   */
  add(target: string): void {
    const path = normalisePath(target);
    if (path === undefined) return;
    const segments = path.slice(1).split('/');
    if (segments.length > MOST_SEGMENTS) return;
    const way = [this.#root];
    for (const segment of segments) {
      const next = this.#child(way.at(-1)!, segment);
      if (!next) return;
      way.push(next);
    }
    const end = way.at(-1)!;
    end.seen++;
    if (!end.known && end.seen >= this.#options.support && this.#learn(end))
      for (const place of way) place.learned++;
  }

  /** What was learned, the most special first, and `/*` for the rest. */
  templates(): Template[] {
    return [...this.#templates.toSorted(bySpeciality), templateOf([[{ rest: true }]])];
  }

  /** Places in paths that are remembered. */
  get places(): number {
    return this.#nodes;
  }

  #child(from: Node, segment: string): Node | undefined {
    const shape = shapeOf(segment);
    const key = shape ? `{${shape}}` : segment;
    const known = from.children.get(key) ?? from.any;
    if (known) return known;
    if (!shape && from.words >= this.#options.words) return this.#generalise(from);
    if (this.#nodes >= this.#options.templates * NODES_PER_TEMPLATE) return undefined;
    const part: Part = shape ? { parameter: NAMES[shape], shape } : { literal: segment };
    const child = node([...from.parts, part]);
    from.children.set(key, child);
    this.#nodes++;
    if (!shape) from.words++;
    return child;
  }

  /** Any word may stand here from now on. What has templates stays beside it. */
  #generalise(from: Node): Node {
    for (const [key, child] of from.children) {
      if (child.learned > 0) continue;
      from.children.delete(key);
      this.#nodes -= sizeOf(child);
    }
    from.any = node([...from.parts, { parameter: NAMES.any, shape: 'any' }]);
    this.#nodes++;
    return from.any;
  }

  /** False if there is no room, or if paths would go over to it from a template that they have. */
  #learn(end: Node): boolean {
    if (this.#templates.length >= this.#options.templates) return false;
    const template = templateOf(
      named(end.parts).map((part) => ('literal' in part && !part.literal ? [] : [part])),
    );
    const takes = (other: Template) => bySpeciality(template, other) < 0 && overlap(template, other);
    if (this.#templates.some(takes)) return false;
    this.#templates.push(template);
    end.known = true;
    return true;
  }
}

const sizeOf = ({ children, any }: Node): number =>
  [...children.values(), ...(any ? [any] : [])].reduce((sum, child) => sum + sizeOf(child), 1);

/** With parameters of different names: `{id}`, `{id2}`. */
function named(parts: readonly Part[]): Part[] {
  const counts = new Map<string, number>();
  return parts.map((part) => {
    if (!('parameter' in part)) return part;
    const count = (counts.get(part.parameter) ?? 0) + 1;
    counts.set(part.parameter, count);
    return count === 1 ? part : { ...part, parameter: `${part.parameter}${count}` };
  });
}

/** Whether there may be a path that both match. */
function overlap(a: Template, b: Template): boolean {
  if (a.segments.length !== b.segments.length) return false;
  return a.segments.every(([part], i) => meet(part, b.segments[i]![0]));
}

function meet(a: Part | undefined, b: Part | undefined): boolean {
  const [first, second] = [kindOf(a), kindOf(b)];
  if (first === second) return true;
  // A number can be long enough for a hash.
  if ([first, second].sort().join() === '{hash},{number}') return true;
  // An empty segment is no parameter.
  return (first === '{any}' && second !== '') || (second === '{any}' && first !== '');
}

const kindOf = (part: Part | undefined): string =>
  part === undefined || 'rest' in part ? '' : 'literal' in part ? part.literal : `{${part.shape}}`;
