/**
 * Routes that an agent counted, and what other engines make of the same paths.
 *
 * @module
 */
import { RE2JS } from 're2js';
import type { Agent } from '../../src/agent.js';
import type { Role } from '../../src/receivers/counts.js';
import { normalisePath } from '../../src/routes/normal-path.js';

/** By side, then by what `name` makes of a row: how often there was which route. */
export type RouteCounts = Record<Role, Record<string, number>>;

/** `GET 200 /details/{id}`; `-` where there is no route. */
export async function routeCounts(agent: Agent): Promise<RouteCounts> {
  const found: RouteCounts = { client: {}, server: {} };
  for (const { ends, counts } of (await agent.snapshot()).requests) {
    const { method, status, route = '-', duration } = counts;
    const name = `${method} ${status} ${route}`;
    const side = found[ends.role];
    side[name] = (side[name] ?? 0) + duration.count;
  }
  return found;
}

/** What came after `before`. */
export function since(before: RouteCounts, after: RouteCounts): RouteCounts {
  const difference = (role: Role) =>
    Object.fromEntries(
      Object.entries(after[role])
        .map(([name, count]) => [name, count - (before[role][name] ?? 0)] as const)
        .filter(([, count]) => count !== 0),
    );
  return { client: difference('client'), server: difference('server') };
}

/** The first of these expressions that matches a target, by RE2 in its normal form; `*` if none does. */
export function firstMatch(expressions: readonly string[], target: string): string {
  const path = normalisePath(target);
  if (path === undefined) return '*';
  return expressions.find((text) => RE2JS.matches(text, path)) ?? '*';
}
