/**
 * Builds the points of a family. Points with equal attributes become one point, their values added up, so that
 * no family of any dialect can have two points that a reader can not tell apart.
 *
 * @module
 */

import type { Role } from '../receivers/counts.js';
import type { Attributes, HistogramPoint, NumberPoint } from './family.js';
import type { Ends } from './model.js';

/** Attributes and what tells them apart, made once and used for every family that carries them. */
export interface Labels {
  readonly attributes: Attributes;
  readonly key: string;
}

/** Equal attributes give equal keys if they were written in the same order, which one dialect's code does. */
export function labels(attributes: Attributes): Labels {
  return { attributes, key: JSON.stringify(attributes) };
}

/** The labels of a pair and what one of its series adds to them, or says otherwise. */
export function extended(base: Labels, more: Attributes): Labels {
  const key = base.key + JSON.stringify(more);
  // V8 makes objects of more than a dozen and a half keys slow to build key by key (10 us), but quick to copy
  // (50 ns): with so many, a base has all keys, and some of its values are replaced. With fewer, spreading two
  // objects takes 5 us and assigning 0.2.
  const hasAll = Object.keys(more).every((name) => name in base.attributes);
  return {
    attributes: hasAll ? { ...base.attributes, ...more } : Object.assign({}, base.attributes, more),
    key,
  };
}

/**
 * Makes the labels of each pair once, with short keys: hashing them would cost more than all else. The keys mean
 * something only among labels that come from here, or from {@link labels}.
 */
export function pairLabels(make: (ends: Ends) => Attributes): (ends: Ends) => Labels {
  const byEnds = new Map<Ends, Labels>();
  const byText = new Map<string, Labels>();
  return (ends) => {
    let found = byEnds.get(ends);
    if (!found) {
      const attributes = make(ends);
      const text = JSON.stringify(attributes);
      found = byText.get(text) ?? { attributes, key: `#${byText.size}` };
      byText.set(text, found);
      byEnds.set(ends, found);
    }
    return found;
  };
}

/**
 * Labels of rows that have no names: undefined for all others. What exceeds a budget says that it is overflow
 * (OpenTelemetry metrics SDK, cardinality limits). Names that nobody has any more say so besides, because they come in
 * all at once, long after they were counted: who asks for a rate leaves them out. `side` tells the two sides of a
 * connection apart, where the name of the metric does not.
 */
export function namelessLabels(side: (role: Role) => Attributes = () => ({})) {
  const of = (role: Role) => ({
    overflow: labels({ [OVERFLOW]: true, ...side(role) }),
    retired: labels({ [OVERFLOW]: true, [RETIRED]: true, ...side(role) }),
  });
  const all = { client: of('client'), server: of('server') };
  return ({ role, overflow, retired }: Ends, counts?: { readonly overflow: boolean }): Labels | undefined => {
    if (retired) return all[role].retired;
    return overflow || counts?.overflow ? all[role].overflow : undefined;
  };
}

export const OVERFLOW = 'otel.metric.overflow';
export const RETIRED = 'meshtap.retired';

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

interface Growing {
  readonly attributes: Attributes;
  /** The sweep's until something is added: nobody writes to those. */
  buckets: ArrayLike<number>;
  /** The same, once they are our own. */
  own?: Float64Array;
  count: number;
  sum: number;
}

export class HistogramPoints {
  readonly #points = new Map<string, Growing>();

  add({ attributes, key }: Labels, { buckets, count, sum }: Observed): void {
    const point = this.#points.get(key);
    if (!point) {
      this.#points.set(key, { attributes, buckets, count, sum });
      return;
    }
    point.own ??= new Float64Array(point.buckets);
    point.buckets = point.own;
    for (let i = 0; i < buckets.length; i++) point.own[i]! += buckets[i]!;
    point.count += count;
    point.sum += sum;
  }

  /** The points as they are now; what is added later does not change them. */
  list(): HistogramPoint[] {
    return Array.from(this.#points.values(), ({ attributes, buckets, own, count, sum }) => ({
      attributes,
      buckets: own?.slice() ?? buckets,
      count,
      sum,
    }));
  }
}
