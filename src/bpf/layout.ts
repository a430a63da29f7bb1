/**
 * What of an instance's maps another start can go on with. It is decided by names, types and offsets: whoever changes
 * the meaning of a field in `bpf-src/` renames it, and the next version does not take it for what it was.
 *
 * @module
 */
import { createHash } from 'node:crypto';
import type { CountingOptions } from './counting.js';
import { enums, maps, structs } from './generated/counts.js';

/** Maps whose contents only make sense together. */
export type Group = 'counts' | 'ledger' | 'prefixes' | 'routes' | 'connections';

const GROUPS: Record<string, Group> = {
  pairs: 'counts',
  pair_values: 'counts',
  free_pairs: 'counts',
  http_series: 'counts',
  http_values: 'counts',
  free_series: 'counts',
  rpc_methods: 'counts',
  free_methods: 'counts',
  dns_series: 'counts',
  dns_values: 'counts',
  free_dns_series: 'counts',
  dns_names: 'counts',
  free_names: 'counts',
  named: 'counts',
  dns_pending: 'counts',
  control: 'counts',
  ledgers: 'ledger',
  prefixes: 'prefixes',
  routing: 'routes',
  route_tables: 'routes',
  route_pages: 'routes',
  route_scopes: 'routes',
  huffman_code: 'routes',
};

/** The group of a map of the object; what is not counted or set by user space is the state of connections. */
export const groupOf = (map: string): Group => GROUPS[map] ?? 'connections';

/** Enums whose numbers lie in the maps of a group. */
const ENUMS: Record<Group, readonly (keyof typeof enums)[]> = {
  counts: [
    ...(['slot', 'role', 'peer_kind', 'method', 'http_version', 'failure'] as const),
    ...(['grpc_status', 'rpc_method', 'route', 'dns_outcome', 'dns_record'] as const),
  ],
  ledger: ['role', 'ledger_entry'],
  prefixes: ['prefix_verdict'],
  routes: ['method', 'route', 'route_bound', 'huffman_flag'],
  connections: [],
};

/** What is compared between two starts; kept with the pinned maps. */
export interface Layout extends Omit<CountingOptions, 'boundaries'> {
  readonly boundaries: readonly string[];
  readonly fingerprints: Readonly<Record<Group, string>>;
}

/** The layout that this version of meshtap has, with these options. */
export function layoutFor({ boundaries, limits, stripes }: CountingOptions): Layout {
  const of = (group: Group) => fingerprint(group);
  return {
    boundaries: boundaries.map(String),
    limits,
    stripes,
    fingerprints: {
      counts: of('counts'),
      ledger: of('ledger'),
      prefixes: of('prefixes'),
      routes: of('routes'),
      connections: of('connections'),
    },
  };
}

/** Changes with whatever changes the meaning of the bytes in the maps of a group; not with their capacity. */
function fingerprint(group: Group): string {
  const seen: Record<string, unknown> = {};
  const visit = (type: string) => {
    const name = type.replace(/^struct |\[.*/g, '');
    if (seen[name] || !(name in structs)) return;
    const struct = structs[name as keyof typeof structs];
    seen[name] = struct;
    for (const field of Object.values(struct.fields)) visit(field.type);
  };
  const own = Object.entries(maps).filter(([name]) => groupOf(name) === group);
  for (const [, { key, value }] of own) {
    visit(key.type);
    visit(value.type);
  }
  const shapes = own.map(([name, { type, flags, key, value }]) => ({ name, type, flags, key, value }));
  const numbers = ENUMS[group].map((name) => enums[name]);
  return createHash('sha256').update(JSON.stringify({ shapes, seen, numbers })).digest('hex').slice(0, 16);
}

export interface Kept {
  readonly groups: ReadonlySet<Group>;
  /** What could not be kept, a sentence each. */
  readonly lost: readonly string[];
}

/** Decides what of `before` can be used with the layout `now`. */
export function compare(before: Layout, now: Layout): Kept {
  const same = (group: Group) => before.fingerprints[group] === now.fingerprints[group];
  const groups = new Set<Group>();
  const lost: string[] = [];
  if (same('prefixes')) groups.add('prefixes');

  const changed = countsChange(before, now);
  if (changed) {
    // The ledger accounts for the counts, and connections remember indices of them: both begin with them.
    return { groups, lost: [`All counts start again at 0, because ${changed}.`] };
  }
  groups.add('counts');
  if (same('ledger') && before.stripes === now.stripes) groups.add('ledger');
  else lost.push('The ledger starts again at 0, because this version keeps other reasons apart.');
  // User space sets them anew; kept, they stay in force until then.
  if (same('routes') && before.limits.routes === now.limits.routes) groups.add('routes');
  if (same('connections') && before.limits.early === now.limits.early) groups.add('connections');
  else {
    const reason = same('connections')
      ? 'the limit of early segments changed'
      : 'this version keeps another state';
    lost.push(connectionsLost(reason));
  }
  return { groups, lost };
}

/** What it means that the state of open connections can not be kept. */
export const connectionsLost = (reason: string): string =>
  `Requests in flight on open connections are not measured; the ledger has them as desynchronised, because ${reason}.`;

function countsChange(before: Layout, now: Layout): string | undefined {
  if (before.fingerprints.counts !== now.fingerprints.counts) return 'this version counts in another layout';
  if (before.boundaries.join() !== now.boundaries.join()) return 'the latency boundaries changed';
  if (before.limits.pairs !== now.limits.pairs) return 'the limit of pairs changed';
  if (before.limits.series !== now.limits.series) return 'the limit of series changed';
  if (before.limits.lookups !== now.limits.lookups) return 'the limit of lookups changed';
  if (before.limits.names !== now.limits.names) return 'the limit of names changed';
  if (before.stripes !== now.stripes) return 'the machine has another number of CPUs';
  return undefined;
}
