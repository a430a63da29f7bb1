import type { Snapshot } from '../../metrics/model.js';
import { quantile } from '../../metrics/quantile.js';

/** How one service asks another, over some seconds. */
export interface PairRate {
  readonly source: string;
  readonly destination: string;
  /** Requests per second. */
  readonly rate: number;
  /** Of these, the share that got a 5xx, 0 to 1. */
  readonly failed: number;
  /** Seconds; NaN without requests. */
  readonly p50: number;
  readonly p99: number;
}

interface Sum {
  readonly source: string;
  readonly destination: string;
  count: number;
  failed: number;
  readonly buckets: Float64Array;
}

export type Sums = ReadonlyMap<string, Sum>;

/** What every server saw since counting began, by pair of services. */
export function sumPairs({ requests, boundaries }: Snapshot): Sums {
  const sums = new Map<string, Sum>();
  for (const { ends, counts } of requests) {
    if (ends.role !== 'server' || ends.overflow || counts.overflow) continue;
    const [source, destination] = [ends.source.service, ends.destination.service];
    const key = `${source} ${destination}`;
    const buckets = new Float64Array(boundaries.length + 1);
    const sum = sums.get(key) ?? { source, destination, count: 0, failed: 0, buckets };
    sums.set(key, sum);
    sum.count += counts.duration.count;
    if (typeof counts.status === 'number' && counts.status >= 500) sum.failed += counts.duration.count;
    for (const [i, n] of counts.duration.buckets.entries()) sum.buckets[i]! += n;
  }
  return sums;
}

/** What came between two sums that are `seconds` apart. */
export function ratesBetween(
  before: Sums,
  after: Sums,
  seconds: number,
  boundaries: readonly number[],
): PairRate[] {
  const rates = [...after].map(([key, sum]): PairRate => {
    const first = before.get(key);
    const buckets = sum.buckets.map((n, i) => n - (first?.buckets[i] ?? 0));
    const count = sum.count - (first?.count ?? 0);
    return {
      source: sum.source,
      destination: sum.destination,
      rate: count / seconds,
      failed: count ? (sum.failed - (first?.failed ?? 0)) / count : 0,
      p50: quantile(0.5, buckets, boundaries),
      p99: quantile(0.99, buckets, boundaries),
    };
  });
  return rates.sort((a, b) => b.rate - a.rate || a.destination.localeCompare(b.destination));
}
