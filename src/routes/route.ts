import { type Pattern, PatternError } from './program.js';
import { regex } from './regex.js';
import { bySpeciality, type Template, template } from './template.js';

/** A route of a service: the requests whose latencies belong together. */
export interface Route {
  /** As in a request: `GET`. @default any */
  readonly method?: string;
  /** A template, or a regular expression. */
  readonly pattern: Template | Pattern;
}

/** Methods that the kernel tells apart: only these can have routes of their own. */
export const METHODS: readonly string[] = [
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'],
];

/**
 * Reads a route: a pattern, or a method, a space and a pattern. Throws PATTERN_REFUSED.
 * @param kind what the pattern is: a template such as `/details/{id}`, or a regular expression
 */
export function readRoute(text: string, kind: 'template' | 'regex'): Route {
  const [, method, pattern = ''] = /^(?:(\S+) +)?(\S+)$/.exec(text.trim()) ?? [];
  if (pattern === '') throw new PatternError(text, 'is no pattern, nor a method, a space and a pattern');
  if (method !== undefined && !METHODS.includes(method))
    throw new PatternError(text, `begins with ${method}, which is no method that is told apart`);
  return {
    ...(method !== undefined && { method }),
    pattern: kind === 'template' ? template(pattern) : regex(pattern),
  };
}

/**
 * Routes in the order in which they are asked. Templates go before regular expressions, the most special first;
 * regular expressions as they were given. Of two templates that are equally special one with a method goes before one for
 * any; else the one that was given first.
 */
export function inOrder(routes: readonly Route[]): Route[] {
  return routes.toSorted((a, b) => byKind(a, b) || byPattern(a, b) || byMethod(a, b));
}

/**
 * The route of a request.
 * @param ordered what `inOrder` gave, the patterns of a scope in the same order
 * @param matches the numbers of those that match the path, as a walk gives them
 */
export function routeOf(
  ordered: readonly Route[],
  matches: readonly number[],
  method: string,
): Route | undefined {
  return matches
    .map((i) => ordered[i]!)
    .find((route) => route.method === undefined || route.method === method);
}

const segmentsOf = ({ pattern }: Route) => ('segments' in pattern ? pattern : undefined);

const byKind = (a: Route, b: Route) => Number(!segmentsOf(a)) - Number(!segmentsOf(b));

function byPattern(a: Route, b: Route): number {
  const [first, second] = [segmentsOf(a), segmentsOf(b)];
  return first && second ? bySpeciality(first, second) : 0;
}

/** Among regular expressions the order is the one given: what differs may still match the same path. */
function byMethod(a: Route, b: Route): number {
  if (!segmentsOf(a)) return 0;
  return Number(a.method === undefined) - Number(b.method === undefined);
}
