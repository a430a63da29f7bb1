/**
 * Builds the points of a family. Points with equal attributes become one point, their values added up, so that
 * no family of any dialect can have two points that a reader can not tell apart.
 *
 * @module
 */

import type { Attributes, HistogramPoint, NumberPoint } from './family.js';

/** Attributes and what tells them apart, made once and used for every family that carries them. */
export interface Labels {
  readonly attributes: Attributes;
  readonly key: string;
}

/** Equal attributes give equal keys if they were written in the same order, which one dialect's code does. */
export function labels(attributes: Attributes): Labels {
  return { attributes, key: JSON.stringify(attributes) };
}

/** What exceeds the budget carries this attribute and no name (OpenTelemetry metrics SDK, cardinality limits). */
export const OVERFLOW = labels({ 'otel.metric.overflow': true });

export class NumberPoints {
  readonly #points = new Map<string, { attributes: Attributes; value: number }>();

  add({ attributes, key }: Labels, value: number): void {
    const point = this.#points.get(key);
    if (point) point.value += value;
    else this.#points.set(key, { attributes, value });
  }

  list(): NumberPoint[] {
    return [...this.#points.values()];
  }
}

type Observed = Omit<HistogramPoint, 'attributes'>;

export class HistogramPoints {
  readonly #points = new Map<string, HistogramPoint>();

  add({ attributes, key }: Labels, observed: Observed): void {
    const point = this.#points.get(key);
    this.#points.set(key, point ? plus(point, observed) : { attributes, ...pick(observed) });
  }

  list(): HistogramPoint[] {
    return [...this.#points.values()];
  }
}

/** Buckets are shared with the sweep, not copied: nobody writes to them. */
function pick({ buckets, count, sum }: Observed): Observed {
  return { buckets, count, sum };
}

function plus(point: HistogramPoint, { buckets, count, sum }: Observed): HistogramPoint {
  return {
    attributes: point.attributes,
    buckets: Float64Array.from(point.buckets, (n, i) => n + buckets[i]!),
    count: point.count + count,
    sum: point.sum + sum,
  };
}
