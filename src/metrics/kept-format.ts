/**
 * What ended, as bytes: JSON in which each pair of ends is written once, and of a histogram only what is not 0.
 *
 * @module
 */
import type { Identity } from '../identity/identity.js';
import type { DnsCounts, HistogramCounts, HttpCounts, TcpCounts } from '../receivers/counts.js';
import { TCP_NUMBERS } from './arithmetic.js';
import { type EndedRow, retiredEnds } from './ended.js';
import type { Ends } from './model.js';

/** All that one receiver's counts need to go on. */
export interface Kept {
  readonly requests: readonly EndedRow<HttpCounts>[];
  readonly connections: readonly EndedRow<TcpCounts>[];
  readonly lookups: readonly EndedRow<DnsCounts>[];
  /** Of lives that are in there. */
  readonly tokens: readonly string[];
}

/** Changes when the meaning of the bytes does. */
const FORMAT = 2;

interface Written {
  readonly format: number;
  readonly ends: readonly WrittenEnds[];
  readonly requests: readonly [ends: number, WrittenHttp, WrittenHistogram, WrittenHistogram][];
  readonly connections: readonly [ends: number, readonly number[], WrittenHistogram, WrittenHistogram][];
  readonly lookups: readonly [ends: number, WrittenDns, WrittenHistogram][];
  readonly tokens: readonly string[];
}

type WrittenEnds = Pick<Ends, 'role' | 'source' | 'destination' | 'port'> & { readonly retired?: true };
/** JSON leaves out what is undefined. */
type Optional = 'status' | 'failure' | 'route' | 'rpc';
type WrittenHttp = Omit<HttpCounts, 'pair' | 'duration' | 'firstByte' | Optional> &
  Partial<Pick<HttpCounts, Optional>>;
type WrittenDns = Omit<DnsCounts, 'pair' | 'duration' | 'code'> & Partial<Pick<DnsCounts, 'code'>>;
/** Sum, number of buckets, then places and values in turn. */
type WrittenHistogram = readonly number[];

export function encodeKept({ requests, connections, lookups, tokens }: Kept): Uint8Array {
  const places = new Map<Ends, number>();
  const ends: WrittenEnds[] = [];
  const placeOf = (it: Ends): number => {
    let place = places.get(it);
    if (place === undefined) {
      const { role, source, destination, port, retired } = it;
      place = ends.push({ role, source, destination, port, ...(retired && { retired }) }) - 1;
      places.set(it, place);
    }
    return place;
  };
  const written: Written = {
    format: FORMAT,
    requests: requests.map(({ ends, counts }) => {
      const { pair: _, duration, firstByte, ...http } = counts;
      return [placeOf(ends), http, writtenHistogram(duration), writtenHistogram(firstByte)];
    }),
    connections: connections.map(({ ends, counts }) => [
      placeOf(ends),
      TCP_NUMBERS.map((name) => counts[name]),
      writtenHistogram(counts.connect),
      writtenHistogram(counts.rtt),
    ]),
    lookups: lookups.map(({ ends, counts }) => {
      const { pair: _, duration, ...dns } = counts;
      return [placeOf(ends), dns, writtenHistogram(duration)];
    }),
    ends,
    tokens,
  };
  return Buffer.from(JSON.stringify(written));
}

/** Nothing if another version wrote it in another way. */
export function decodeKept(bytes: Uint8Array | undefined, source: number): Kept {
  const written: Written | undefined = bytes && JSON.parse(Buffer.from(bytes).toString());
  if (written?.format !== FORMAT) return { requests: [], connections: [], lookups: [], tokens: [] };
  const ends = written.ends.map(readEnds);
  return {
    requests: written.requests.map(([place, http, duration, firstByte]) => ({
      source,
      ends: ends[place]!,
      counts: {
        ...{ status: undefined, failure: undefined, route: undefined, rpc: undefined, ...http },
        pair: ends[place]!.pair,
        duration: readHistogram(duration),
        firstByte: readHistogram(firstByte),
      },
    })),
    connections: written.connections.map(([place, numbers, connect, rtt]) => ({
      source,
      ends: ends[place]!,
      counts: {
        pair: ends[place]!.pair,
        ...(Object.fromEntries(TCP_NUMBERS.map((name, i) => [name, numbers[i] ?? 0])) as Record<
          (typeof TCP_NUMBERS)[number],
          number
        >),
        connect: readHistogram(connect),
        rtt: readHistogram(rtt),
      },
    })),
    lookups: written.lookups.map(([place, dns, duration]) => ({
      source,
      ends: ends[place]!,
      counts: { code: undefined, ...dns, pair: ends[place]!.pair, duration: readHistogram(duration) },
    })),
    tokens: written.tokens,
  };
}

function readEnds({ role, source, destination, port, retired }: WrittenEnds): Ends {
  if (retired) return retiredEnds(role, destination.watched);
  const named = ({ service, namespace, workload }: Identity) =>
    ({ kind: 'named', service, namespace, workload }) as const;
  const [local, remote] = role === 'client' ? [source, destination] : [destination, source];
  const pair = { role, local: named(local), remote: named(remote), port, overflow: false };
  return { pair, role, source, destination, port, overflow: false };
}

function writtenHistogram({ sum, buckets }: HistogramCounts): WrittenHistogram {
  const written = [sum, buckets.length];
  for (const [place, n] of buckets.entries()) if (n > 0) written.push(place, n);
  return written;
}

function readHistogram([sum = 0, size = 0, ...entries]: WrittenHistogram): HistogramCounts {
  const buckets = new Float64Array(size);
  let count = 0;
  for (let i = 0; i < entries.length; i += 2) {
    buckets[entries[i]!] = entries[i + 1]!;
    count += entries[i + 1]!;
  }
  return { sum, count, buckets };
}
