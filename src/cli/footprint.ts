/**
 * What an agent may take of memory, told before it starts.
 *
 * @module
 */
import type { Config } from '../config/schema.js';
import { ebpfFootprint } from '../receivers/ebpf.js';
import { bytes, table } from './table.js';

/** One part of it. */
export interface Share {
  /** What takes it; the name of its limit, where it has one. */
  readonly what: string;
  readonly limit: number | undefined;
  /** Each, bytes. */
  readonly each: number;
  readonly where: 'kernel' | 'process';
}

const PER_CONNECTION = 'open connection: ';
/** Measured, rounded up: a name of an end with its labels; a row of counts with the names of both ends. */
const NAME_BYTES = 1024;
const ENDED_BYTES = 4096;

/**
 * By limit. In the kernel exact: what the maps take when they are full, most of it from the start. In the process about
 * what it comes to when the limits are reached. Connections have no limit.
 */
export function shares({ identities, flows: _, ...limits }: Config['limits']): Share[] {
  const { parts, perConnection } = ebpfFootprint(limits);
  const kernel = (what: keyof typeof limits): Share => ({
    what,
    limit: limits[what],
    each: parts[what] / limits[what],
    where: 'kernel',
  });
  return [
    kernel('series'),
    kernel('pairs'),
    kernel('early'),
    kernel('lookups'),
    kernel('names'),
    ...Object.entries(perConnection).map(([map, each]) => ({
      what: `${PER_CONNECTION}${map}`,
      limit: undefined,
      each,
      where: 'kernel' as const,
    })),
    { what: 'others', limit: 1, each: parts.fixed, where: 'kernel' },
    { what: 'identities', limit: identities, each: NAME_BYTES, where: 'process' },
    {
      what: 'ended series, pairs and lookups',
      limit: limits.series + limits.pairs + limits.lookups,
      each: ENDED_BYTES,
      where: 'process',
    },
  ];
}

const total = (all: readonly Share[], where: Share['where']): number =>
  all.reduce((sum, share) => (share.where === where ? sum + share.each * (share.limit ?? 0) : sum), 0);

/** `at most 18.2 MiB in the kernel and 2.0 KiB to 12.0 KiB for each open connection, ...` */
export function footprintLine(limits: Config['limits']): string {
  const all = shares(limits);
  const sockets = all.filter(({ what }) => what.startsWith(PER_CONNECTION)).map(({ each }) => each);
  const [least, most] = [Math.min(...sockets), sockets.reduce((sum, each) => sum + each, 0)];
  const { series, pairs, early, lookups, names, identities } = limits;
  return (
    `at most ${bytes(total(all, 'kernel'))} in the kernel and ${bytes(least)} to ${bytes(most)} for each open ` +
    `connection, and about ` +
    `${bytes(total(all, 'process'))} in the process, for ${series} series, ${pairs} pairs, ${early} early segments, ` +
    `${lookups} series of lookups, ${names} names and ${identities} identities`
  );
}

export function footprintTable(all: readonly Share[]): string {
  return table(
    [
      { name: 'MEMORY OF' },
      { name: 'WHERE' },
      { name: 'LIMIT', align: 'right' },
      { name: 'EACH', align: 'right' },
      { name: 'AT MOST', align: 'right' },
    ],
    all.map(({ what, where, limit, each }) => [
      what,
      where,
      limit === undefined ? 'none' : limit === 1 ? '' : String(limit),
      limit === 1 ? '' : bytes(Math.round(each)),
      limit === undefined ? '' : `${where === 'process' ? 'about ' : ''}${bytes(Math.round(each * limit))}`,
    ]),
  );
}
