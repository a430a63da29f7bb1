import type { LoadedObject } from '../src/bpf/object.js';
import { Epoch } from '../src/receivers/ebpf-entries.js';
import { RouteIds } from '../src/receivers/ebpf-route-ids.js';
import { RouteTables } from '../src/receivers/ebpf-routes.js';
import { readRoute } from '../src/routes/route.js';
import { type Effort, measureCost } from './overhead.js';
import type { Figure } from './rounds.js';
import type { Shape, Traffic } from './traffic.js';

/** Nanoseconds per request and monitored end, by path and number of patterns. */
export interface RouteCost {
  readonly shape: string;
  readonly patterns: number;
  readonly perRequestAndEnd: Figure;
}

const PATTERNS = [0, 10, 1000];
const path = (length: number) => `/details/${'x'.repeat(length - '/details/'.length)}`;
const SHAPES: readonly Shape[] = [
  { name: 'a path of 24 bytes', path: path(24) },
  { name: 'a path of 1,024 bytes', path: path(1024) },
];

/** What it costs to give requests their routes. */
export async function measureRoutes(
  traffic: Traffic,
  empty: LoadedObject,
  meshtap: LoadedObject,
  effort: Effort,
): Promise<RouteCost[]> {
  const map = (name: string) => meshtap.maps.get(name)!;
  const maps = {
    ...{ routing: map('routing'), tables: map('route_tables'), pages: map('route_pages') },
    ...{ scopes: map('route_scopes'), huffman: map('huffman_code') },
  };
  const tables = new RouteTables(maps, new RouteIds(undefined), new Epoch(map('control')));
  const set = (patterns: number) => {
    const texts = Array.from({ length: patterns - 1 }, (_, i) => `/service-${i}/{id}/of/{other}`);
    const routes =
      patterns === 0 ? [] : [...texts, '/details/{id}'].map((text) => readRoute(text, 'template'));
    return tables.set(
      [{ routes }],
      () => undefined,
      () => new Set(),
    );
  };
  const costs: RouteCost[] = [];
  for (const patterns of PATTERNS) {
    await set(patterns);
    const measured = await measureCost(traffic, empty, meshtap, { ...effort, shapes: SHAPES });
    costs.push(...measured.map(({ shape, perRequestAndEnd }) => ({ shape, patterns, perRequestAndEnd })));
  }
  await set(0);
  return costs;
}
