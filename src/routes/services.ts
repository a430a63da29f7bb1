/**
 * The routes of all services, ready for the automaton: a scope for each service that has its own, one for all others.
 *
 * @module
 */
import { type Automaton, Compiler } from './automaton.js';
import type { Pattern } from './program.js';
import { inOrder, type Route, routeOf } from './route.js';
import { walkPath } from './walk.js';

/** Routes of one service, or of all. */
export interface ServiceRoutes {
  /** The name it has in the metrics. @default all services */
  readonly service?: string;
  /** Only the service of that name in this namespace. @default in all */
  readonly namespace?: string;
  readonly routes: readonly Route[];
}

/** What is known of a server. */
export interface Server {
  readonly service: string;
  readonly namespace: string;
}

/** A scope of the automaton, and what its patterns stand for. */
export interface RouteScope {
  readonly name: string;
  /** By number of the pattern in the scope. */
  readonly routes: readonly Route[];
}

/** The scope of services without routes of their own. */
export const EVERYBODY = '';

/**
 * All routes compiled. The routes of a service are those for it in its namespace, for its name, and for all, in the
 * order of `inOrder`: of two that are equally special those that are meant for fewer services go first.
 */
export class CompiledRoutes {
  readonly automaton: Automaton;
  readonly scopes: readonly RouteScope[];
  readonly #names: ReadonlySet<string>;

  /** Throws PATTERN_REFUSED with the pattern that is too much or matches nothing. */
  constructor(services: readonly ServiceRoutes[], compiler: Compiler = new Compiler()) {
    const own = new Set(services.filter(({ service }) => service !== undefined).map(scopeName));
    const names = [EVERYBODY, ...own];
    this.scopes = names.map((name) => ({ name, routes: unique(routesIn(name, services)) }));
    this.#names = new Set(names);
    this.automaton = compiler.compile(
      this.scopes
        .filter(({ routes }) => routes.length > 0)
        .map(({ name, routes }) => ({ name, of: 'path', patterns: routes.map(patternOf) })),
    );
  }

  /** Whether any service has routes that others do not have. */
  get differ(): boolean {
    return this.scopes.length > 1;
  }

  /** The name of the scope that a server's routes are in. */
  scopeOf({ service, namespace }: Server): string {
    const candidates = [scopeName({ service, namespace }), scopeName({ service })];
    return candidates.find((name) => this.#names.has(name)) ?? EVERYBODY;
  }

  /** What the kernel answers: the text of the route; `*` if none matches, undefined if there are none. */
  routeOf(server: Server, method: string, target: Uint8Array): string | undefined {
    const scope = this.scopes.find(({ name }) => name === this.scopeOf(server))!;
    if (scope.routes.length === 0) return undefined;
    const matches = walkPath(this.automaton, scope.name, target);
    return routeOf(scope.routes, matches, method)?.pattern.text ?? '*';
  }
}

const scopeName = ({ service, namespace }: Partial<Server>): string =>
  namespace ? `${service} in ${namespace}` : service!;

function routesIn(name: string, services: readonly ServiceRoutes[]): Route[] {
  const meant = (one: ServiceRoutes): boolean =>
    one.service === undefined ||
    scopeName(one) === name ||
    (name.startsWith(`${one.service} in `) && !one.namespace);
  const narrowness = (one: ServiceRoutes) =>
    one.service === undefined ? 2 : one.namespace === undefined ? 1 : 0;
  const all = services.filter(meant).sort((a, b) => narrowness(a) - narrowness(b));
  return inOrder(all.flatMap(({ routes }) => routes));
}

/** Routes that are given twice, by a document and by hand, are one. */
function unique(routes: readonly Route[]): Route[] {
  const seen = new Map<string, Route>();
  for (const route of routes) {
    const key = `${'segments' in route.pattern} ${patternOf(route).text}`;
    if (!seen.has(key)) seen.set(key, route);
  }
  return [...seen.values()];
}

/** Scopes that differ in methods only are not the same: what an end of a path means depends on them. */
function patternOf({ method, pattern }: Route): Pattern {
  return method === undefined ? pattern : { text: `${method} ${pattern.text}`, program: pattern.program };
}
