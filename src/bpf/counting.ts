/**
 * The one object of meshtap, `bpf-src/meshtap.bpf.c`, as user space sets it up: its constants, the sizes of its maps,
 * and what all of that costs.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { MeshtapError } from '../errors.js';
import { maps as definitions, enums } from './generated/counts.js';
import { type BpfMap, MAP_TYPE } from './map.js';
import type { ObjectSpec } from './object.js';

/** How many entries of each kind there may be. What comes beyond is counted in an overflow series. */
export interface Limits {
  /** Pairs of a local service, a remote end and a port. @default 2048 */
  readonly pairs: number;
  /** Request series: a pair with method, status and route. @default 8192 */
  readonly series: number;
  /** Segments that came early and wait for those before them. @default 4096 */
  readonly early: number;
  /** Series of DNS: a pair with type and code. @default 2048 */
  readonly lookups: number;
  /** DNS names that stand for addresses: each service may have a pair with each. @default 512 */
  readonly names: number;
  /** KiB of the automaton of routes, of which there are two. @default 1024 */
  readonly routes: number;
}

export const DEFAULT_LIMITS: Limits = {
  ...{ pairs: 2048, series: 8192, early: 4096, lookups: 2048, names: 512, routes: 1024 },
};

/** What decides how the kernel counts. */
export interface CountingOptions {
  /** Upper bounds of the buckets, nanoseconds, ascending; one bucket less than a histogram has. */
  readonly boundaries: readonly bigint[];
  readonly limits: Limits;
  /** Copies of every value, each shared by a few CPUs: a power of two. */
  readonly stripes: number;
}

export type MapName = keyof typeof definitions;
export type Maps = ReadonlyMap<string, BpfMap>;

/** Indices below it are the overflow series of each side. */
export const FIRST_INDEX = enums.slot.FIRST_INDEX;
const MAX_STRIPES = 8;
const ADDRESSES_PER_NAME = 8;
const BOUNDARIES = 32;
const NEVER = 0xffff_ffff_ffff_ffffn;

/** Stripes for a machine: as many as CPUs, up to 8. */
export function stripesFor(cpus: number): number {
  return 2 ** Math.ceil(Math.log2(Math.min(cpus, MAX_STRIPES)));
}

/** Capacities of the maps whose size is not the object's own affair. */
function capacities(limits: Limits, stripes: number): Partial<Record<MapName, number>> {
  const { pairs, series, early, lookups, names, routes } = limits;
  return {
    pairs,
    pair_values: pairs * stripes,
    free_pairs: pairs,
    http_series: series,
    http_values: series * stripes,
    free_series: series,
    ledgers: stripes,
    flow_counts: stripes,
    early,
    dns_series: lookups,
    dns_values: lookups * (stripes + 1), // one is for user space
    free_dns_series: lookups,
    dns_names: names,
    free_names: names,
    named: names * ADDRESSES_PER_NAME,
    route_pages: 2 * Math.ceil((routes * 1024) / definitions.route_pages.value.size),
    route_scopes: pairs,
  };
}

/** Sets constants and sizes. */
export function configure(spec: ObjectSpec, { boundaries, limits, stripes }: CountingOptions): void {
  configureCounting(spec, { boundaries, stripes });
  for (const [map, entries] of Object.entries(capacities(limits, stripes))) spec.setMaxEntries(map, entries);
}

/** Sets the constants that all programs have which count. */
export function configureCounting(
  spec: ObjectSpec,
  { boundaries, stripes }: Pick<CountingOptions, 'boundaries' | 'stripes'>,
): void {
  const padded = new BigUint64Array(BOUNDARIES).fill(NEVER);
  padded.set(boundaries);
  spec.setGlobal('boundaries', padded);
  spec.setGlobal('stripes_mask', new Uint32Array([stripes - 1]));
}

/** Maps that user space reads and writes. */
const SHARED: readonly MapName[] = [
  ...(['pairs', 'pair_values', 'free_pairs', 'http_series', 'http_values', 'free_series'] as const),
  ...(['rpc_methods', 'free_methods', 'ledgers', 'prefixes', 'control'] as const),
  ...(['dns_series', 'dns_values', 'free_dns_series', 'dns_pending'] as const),
  ...(['dns_names', 'free_names', 'named'] as const),
  ...(['routing', 'route_tables', 'route_pages', 'route_scopes', 'huffman_code'] as const),
  ...(['watching', 'flow_counts', 'flow_notes'] as const),
];

/**
 * Makes sure that an object lays its maps out as this code reads them.
 *
 * @throws MeshtapError `OBJECT_MISSING`
 */
export function checkLayout(maps: Maps): void {
  for (const name of SHARED) {
    const map = maps.get(name);
    const { key, value } = definitions[name];
    if (map?.keySize === key.size && map.valueSize === value.size) continue;
    throw new MeshtapError(
      'OBJECT_MISSING',
      `the BPF object is of another version: its map ${name} differs`,
      {
        hint: 'npm run build:bpf compiles it anew',
      },
    );
  }
}

/** Hands out the indices of maps that were just created. */
export function fillFreeQueues(maps: Maps, { pairs, series, lookups, names }: Limits): void {
  for (const [name, first, budget] of [
    ['free_pairs', FIRST_INDEX, pairs],
    ['free_series', FIRST_INDEX, series],
    ['free_dns_series', FIRST_INDEX, lookups],
    ['free_methods', enums.rpc_method.FIRST_RPC_METHOD, definitions.free_methods.maxEntries],
  ] as const) {
    const queue = maps.get(name)!;
    for (let index: number = first; index < budget; index++) queue.push(new Uint32Array([index]));
  }
  for (let i = 0; i < names; i++) pushFreshName(maps.get('free_names')!);
}

/** Hands out an id for a DNS name that no name ever had: open connections may remember those of former names. */
export function pushFreshName(queue: BpfMap): void {
  queue.push(randomBytes(8));
}

/** Bytes of kernel memory, known before the start. */
export interface Footprint {
  /** All maps when they are full. */
  readonly total: number;
  /** By map. */
  readonly maps: Readonly<Record<string, number>>;
  /** By limit, and under `fixed` what does not depend on any. */
  readonly parts: Readonly<Record<keyof Limits | 'fixed', number>>;
  /** Beyond that, for each open connection that was seen, by map: `connections` for all, the others where needed. */
  readonly perConnection: Readonly<Record<string, number>>;
}

/** Maps whose size goes by a limit. */
const BY_LIMIT: Readonly<Partial<Record<string, keyof Limits>>> = {
  pairs: 'pairs',
  pair_values: 'pairs',
  free_pairs: 'pairs',
  http_series: 'series',
  http_values: 'series',
  free_series: 'series',
  early: 'early',
  dns_series: 'lookups',
  dns_values: 'lookups',
  free_dns_series: 'lookups',
  dns_names: 'names',
  free_names: 'names',
  named: 'names',
  route_pages: 'routes',
  route_scopes: 'pairs',
};

/**
 * What the maps take at most, by the kernel's own sizes (kernel/bpf/{arraymap,hashtab,queue_stack_maps,lpm_trie}.c
 * and bpf_local_storage.c): arrays and hashes when they are created, the trie as it grows.
 */
export function footprintOf(limits: Limits, cpus: number): Footprint {
  const sizes: Partial<Record<string, number>> = capacities(limits, stripesFor(cpus));
  const maps: Record<string, number> = {};
  const parts = { series: 0, pairs: 0, early: 0, lookups: 0, names: 0, routes: 0, fixed: 0 };
  const perConnection: Record<string, number> = {};
  for (const [name, map] of Object.entries(definitions)) {
    const entry = { entries: sizes[name] ?? map.maxEntries, key: map.key.size, value: map.value.size };
    if (map.type === MAP_TYPE.SK_STORAGE) perConnection[name] = slab(SOCKET_STORAGE_HEADER + map.value.size);
    else {
      maps[name] = bytesOf(map.type, entry, cpus);
      parts[BY_LIMIT[name] ?? 'fixed'] += maps[name];
    }
  }
  const total = Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
  return { total, maps, parts, perConnection };
}

const HASH_ENTRY_HEADER = 48;
const HASH_BUCKET = 16;
const TRIE_NODE = 64;
const SOCKET_STORAGE_HEADER = 64;
/** What kmalloc takes for a size, at most. */
const slab = (bytes: number) => 2 ** Math.ceil(Math.log2(bytes));
const align = (bytes: number) => Math.ceil(bytes / 8) * 8;

function bytesOf(
  type: number,
  { entries, key, value }: { entries: number; key: number; value: number },
  cpus: number,
): number {
  switch (type) {
    case MAP_TYPE.HASH:
    case MAP_TYPE.LRU_HASH: {
      const buckets = 2 ** Math.ceil(Math.log2(entries));
      return entries * (HASH_ENTRY_HEADER + align(key) + align(value)) + buckets * HASH_BUCKET;
    }
    case MAP_TYPE.QUEUE:
      return (entries + 1) * value;
    case MAP_TYPE.RINGBUF:
      return entries; // bytes
    case MAP_TYPE.LPM_TRIE:
      return entries * 2 * TRIE_NODE; // a leaf each, and at most as many forks
    case MAP_TYPE.PERCPU_ARRAY:
      return entries * align(value) * cpus;
    default:
      return entries * align(value);
  }
}
