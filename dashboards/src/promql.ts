/**
 * Pieces of PromQL.
 *
 * @module
 */

import type { Dialect, Source } from './dialects.js';

/** `metric{matchers}`. */
export function select({ metric, where = [] }: Source, ...matchers: readonly string[]): string {
  const all = [...where, ...matchers];
  return all.length > 0 ? `${metric}{${all.join(', ')}}` : metric;
}

/** `sum by (labels) (rate(metric{matchers}[window]))`. */
export function rate(
  source: Source,
  by: readonly string[],
  { window = '$__rate_interval', matchers = [] }: { window?: string; matchers?: readonly string[] } = {},
): string {
  const { metric, also } = source;
  const of = (one: Source) => `rate(${select(one, ...matchers)}[${window}])`;
  return sum(also ? `${of(source)} or ${of({ metric, where: also })}` : of(source), by);
}

export function sum(vector: string, by: readonly string[]): string {
  return by.length > 0 ? `sum by (${by.join(', ')}) (${vector})` : `sum(${vector})`;
}

/** Seconds, or what else the dialect's buckets are in. */
export function quantile(q: number, buckets: string): string {
  return `histogram_quantile(${q}, ${buckets})`;
}

/** The first of these that has anything to say for a set of labels. */
export function firstOf(...vectors: readonly (string | undefined)[]): string {
  return vectors.filter((vector) => vector !== undefined).join('\nor\n');
}

/** Renames labels, and keeps no others but these. */
export function relabelled(
  vector: string,
  names: Readonly<Record<string, string>>,
  kept: readonly string[] = [],
): string {
  let replaced = vector;
  for (const [from, to] of Object.entries(names))
    if (from !== to) replaced = `label_replace(${replaced}, "${to}", "$1", "${from}", "(.*)")`;
  return sum(replaced, [...kept, ...Object.values(names)]);
}

/** The labels of a pair of services, as the recording rules have them. */
export const EDGE = [
  'cluster',
  'source_namespace',
  'source_service',
  'destination_namespace',
  'destination_service',
] as const;

/** The same in a dialect's own metrics. */
export function edgeLabels({ destination }: Dialect): string[] {
  return EDGE.map((label) => (label === 'destination_service' ? destination : label));
}
