/**
 * Where services are drawn: in each namespace from left to right by how many calls they are away from where calls begin,
 * the namespaces as boxes in rows. The same map is always drawn in the same way.
 */

export interface Place {
  readonly id: string;
  readonly namespace: string;
}

export interface Call {
  readonly source: string;
  readonly target: string;
}

export interface Position {
  readonly x: number;
  readonly y: number;
}

const WIDTH = 190;
const HEIGHT = 62;
/** Between boxes. */
const GAP = 90;

export function positions(places: readonly Place[], calls: readonly Call[]): ReadonlyMap<string, Position> {
  const depth = depths(places, calls);
  const boxes = [...grouped(places, ({ namespace }) => namespace)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, members]) => box(members, depth, calls));
  const area = boxes.reduce((sum, { width, height }) => sum + width * height, 0);
  const across = Math.max(Math.sqrt(area * 1.8), ...boxes.map(({ width }) => width));

  const found = new Map<string, Position>();
  let [left, top, tallest] = [0, 0, 0];
  for (const { width, height, members } of boxes) {
    if (left > 0 && left + width > across) {
      top += tallest;
      [left, tallest] = [0, 0];
    }
    for (const [id, { x, y }] of members) found.set(id, { x: left + x, y: top + y });
    left += width;
    tallest = Math.max(tallest, height);
  }
  return found;
}

/** How many calls a service is away from one that nobody calls; in a circle, from the one with the most calls going out. */
function depths(places: readonly Place[], calls: readonly Call[]): ReadonlyMap<string, number> {
  const out = new Map(places.map(({ id }): [string, string[]] => [id, []]));
  const surplus = new Map(places.map(({ id }) => [id, 0]));
  const called = new Set<string>();
  for (const { source, target } of calls) {
    if (source === target) continue;
    out.get(source)?.push(target);
    called.add(target);
    surplus.set(source, (surplus.get(source) ?? 0) + 1);
    surplus.set(target, (surplus.get(target) ?? 0) - 1);
  }
  const depth = new Map<string, number>();
  const walk = (begin: readonly string[]) => {
    let row = begin;
    for (let step = 0; row.length > 0; step++) {
      for (const id of row) depth.set(id, step);
      row = [...new Set(row.flatMap((id) => out.get(id) ?? []))].filter((id) => !depth.has(id));
    }
  };
  walk(places.map(({ id }) => id).filter((id) => !called.has(id)));
  const rest = places
    .map(({ id }) => id)
    .sort((a, b) => surplus.get(b)! - surplus.get(a)! || (a < b ? -1 : 1));
  for (const id of rest) if (!depth.has(id)) walk([id]);
  return depth;
}

/** One namespace, its upper left corner at 0, 0. */
function box(places: readonly Place[], depth: ReadonlyMap<string, number>, calls: readonly Call[]) {
  const callers = grouped(calls, ({ target }) => target);
  const tall = Math.max(4, Math.ceil(Math.sqrt(places.length * 1.6)));
  const members = new Map<string, Position>();
  const columns = [...grouped(places, ({ id }) => depth.get(id) ?? 0)].sort(([a], [b]) => a - b);
  let [column, rows] = [0, 0];
  for (const [, all] of columns) {
    // Beside those that call them, as far as these have their places already.
    const height = (id: string) => {
      const ys = (callers.get(id) ?? []).flatMap(({ source }) => members.get(source)?.y ?? []);
      return ys.length > 0 ? ys.reduce((sum, y) => sum + y, 0) / ys.length : Number.POSITIVE_INFINITY;
    };
    const order = all.map(({ id }) => ({ id, at: height(id) }));
    order.sort((a, b) => (a.at === b.at ? (a.id < b.id ? -1 : 1) : a.at - b.at));
    const used = Math.min(order.length, tall);
    for (const [i, { id }] of order.entries())
      members.set(id, {
        x: (column + Math.floor(i / tall)) * WIDTH,
        y: ((i % tall) - (used - 1) / 2) * HEIGHT,
      });
    column += Math.ceil(order.length / tall);
    rows = Math.max(rows, used);
  }
  const half = (rows * HEIGHT) / 2;
  for (const [id, { x, y }] of members) members.set(id, { x: x + WIDTH / 2, y: y + half });
  return { members, width: column * WIDTH + GAP, height: rows * HEIGHT + GAP };
}

function grouped<T, K>(all: readonly T[], keyOf: (one: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  return groups;
}
