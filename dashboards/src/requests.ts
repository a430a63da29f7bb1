/**
 * Panels about requests that the dashboards of a service and of a pair share.
 *
 * @module
 */

import type { Calls, Dialect, Source } from './dialects.js';
import { graph, heatmap } from './panels.js';
import { quantile, rate } from './promql.js';

/** Green to red, as people know them. */
export const STATUS_COLORS = {
  '/^2/': 'green',
  '/^3/': 'blue',
  '/^4/': 'orange',
  '/^5/': 'red',
  '/no answer/': 'purple',
} as const;

/** What of the traffic, in words for descriptions and as matchers for queries. */
export interface Scope {
  readonly title: string;
  readonly words: string;
  readonly matchers: readonly string[];
}

export function byStatus(dialect: Dialect, count: Source, { title, words, matchers }: Scope, width: number) {
  const { status } = dialect;
  const answered = [...matchers, `${status}!=""`, `${status}!="0"`];
  return graph({
    title: `${title} by status`,
    description: `With which status are requests ${words} answered? “no answer” is a connection that was reset, closed or timed out first.`,
    unit: 'reqps',
    width,
    stacked: true,
    colors: STATUS_COLORS,
    queries: [
      { expr: rate(count, [status], { matchers: answered }), legend: `{{${status}}}` },
      {
        expr: rate(count, [], { matchers: [...matchers, `${status}=~"|0"`, 'otel_metric_overflow=""'] }),
        legend: 'no answer',
      },
    ],
  });
}

export function percentiles(
  dialect: Dialect,
  duration: Source,
  { title, words, matchers }: Scope,
  width: number,
) {
  const buckets = rate(duration, ['le'], { matchers });
  return graph({
    title: `${title}: duration`,
    description: `How long do requests ${words} take, from the first byte of the request to the last byte of the answer?`,
    unit: dialect.unit,
    width,
    queries: [0.5, 0.95, 0.99].map((q) => ({ expr: quantile(q, buckets), legend: `p${q * 100}` })),
  });
}

export function firstByte(source: Source, { title, words, matchers }: Scope, width: number) {
  const buckets = rate(source, ['le'], { matchers });
  return graph({
    title: `${title}: time to first byte`,
    description: `How long until the answer to requests ${words} begins? Far below the duration: large or slowly written bodies.`,
    unit: 's',
    width,
    queries: [0.5, 0.99].map((q) => ({ expr: quantile(q, buckets), legend: `p${q * 100}` })),
  });
}

export function durations(
  dialect: Dialect,
  duration: Source,
  { title, words, matchers }: Scope,
  width: number,
) {
  return heatmap({
    title: `${title}: how often which duration`,
    description: `Are requests ${words} all alike, or are there two kinds, a fast and a slow one? Percentiles do not show that.`,
    unit: dialect.unit,
    width,
    queries: [{ expr: rate(duration, ['le'], { matchers }) }],
  });
}

/** gRPC calls: by method, by status, how long. */
export function calls(source: Calls, { title, words, matchers }: Scope) {
  const buckets = rate(source.duration, ['le'], { matchers });
  return [
    graph({
      title: `${title}: gRPC calls by method`,
      description: `Which methods are called ${words}?`,
      unit: 'reqps',
      width: 8,
      queries: [
        {
          expr: rate(source.count, ['rpc_service', 'rpc_method'], { matchers }),
          legend: '{{rpc_service}}/{{rpc_method}}',
        },
      ],
    }),
    graph({
      title: `${title}: gRPC calls by status`,
      description: `With which status do calls ${words} end? (Over HTTP they all are a 200.)`,
      unit: 'reqps',
      width: 8,
      stacked: true,
      colors: { '/^(OK|0)$/': 'green' },
      queries: [
        {
          expr: rate(source.count, ['rpc_response_status_code'], { matchers }),
          legend: '{{rpc_response_status_code}}',
        },
      ],
    }),
    graph({
      title: `${title}: gRPC duration`,
      description: `How long do calls ${words} take?`,
      unit: 's',
      width: 8,
      queries: [0.5, 0.95, 0.99].map((q) => ({ expr: quantile(q, buckets), legend: `p${q * 100}` })),
    }),
  ];
}
