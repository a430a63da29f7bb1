/**
 * Recording rules: the same names in every dialect, so that what is built on them is the same too.
 *
 * @module
 */

import type { Connections, Dialect, Side, Source } from './dialects.js';
import { EDGE, edgeLabels, firstOf, quantile, rate, relabelled, select, sum } from './promql.js';

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Group {
  readonly name: string;
  readonly interval?: string;
  readonly rules: readonly Rule[];
}

const WINDOW = '5m';
/** Of the error budget, beside the five minutes that everything is recorded over. */
export const BUDGET_WINDOWS = ['30m', '1h', '2h', '6h', '1d', '3d'] as const;

const SIDES: readonly Side[] = ['server', 'client'];
const SERVICE = ['cluster', 'namespace', 'service'];
const LEDGER = 'meshtap_ledger_entries_total';

export function recordingRules(dialect: Dialect): Group[] {
  return [
    requests(dialect),
    connections(dialect),
    agents(),
    budgets(['30m', '1h', '2h', '6h']),
    budgets(['1d', '3d']),
  ];
}

/** Sums by pair of services: from the server's side, or from the client's where no server reports. */
function byEdge(
  { destination }: Dialect,
  vector: (side: Side) => string | undefined,
  more: readonly string[] = [],
): string {
  const both = firstOf(...SIDES.map(vector));
  const [to, ...others] = [...EDGE].reverse();
  return destination === to ? both : relabelled(both, { [destination]: to! }, [...others, ...more]);
}

function requests(dialect: Dialect): Group {
  const edge = edgeLabels(dialect);
  const sides = dialect.requests;
  const perSecond = (source: Source | undefined, by: readonly string[]) =>
    source && rate(source, by, { window: WINDOW });
  const ends = { destination_namespace: 'namespace', destination_service: 'service' };
  const byDestination = ['cluster', 'destination_namespace', dialect.destination, 'le'];
  const buckets = firstOf(...SIDES.map((side) => perSecond(sides[side]?.duration, byDestination)));
  const seconds = (q: number) =>
    `${quantile(q, 'service:meshtap_request_duration_bucket:rate5m')}${dialect.unit === 'ms' ? ' / 1000' : ''}`;
  return {
    name: 'meshtap-requests',
    interval: '30s',
    rules: [
      {
        record: 'edge:meshtap_requests:rate5m',
        expr: byEdge(dialect, (side) => perSecond(sides[side]?.count, edge)),
      },
      {
        record: 'edge:meshtap_errors:rate5m',
        // Zero, rather than nothing, where all is well; and from the same side as the requests.
        expr: byEdge(dialect, (side) => {
          const { count, failed } = sides[side] ?? {};
          return count && firstOf(perSecond(failed, edge), `0 * ${perSecond(count, edge)}`);
        }),
      },
      {
        record: 'service:meshtap_requests:rate5m',
        expr: relabelled('edge:meshtap_requests:rate5m', ends, ['cluster']),
      },
      {
        record: 'service:meshtap_errors:rate5m',
        expr: relabelled('edge:meshtap_errors:rate5m', ends, ['cluster']),
      },
      {
        record: 'service:meshtap_errors:ratio_rate5m',
        expr: 'service:meshtap_errors:rate5m / (service:meshtap_requests:rate5m > 0)',
      },
      {
        record: 'service:meshtap_request_duration_bucket:rate5m',
        expr: relabelled(buckets, { destination_namespace: 'namespace', [dialect.destination]: 'service' }, [
          'cluster',
          'le',
        ]),
      },
      {
        record: 'namespace:meshtap_request_duration_bucket:rate5m',
        expr: sum('service:meshtap_request_duration_bucket:rate5m', ['cluster', 'namespace', 'le']),
      },
      ...[50, 95, 99].map((percent) => ({
        record: `service:meshtap_request_duration_seconds:p${percent}_5m`,
        expr: seconds(percent / 100),
      })),
    ],
  };
}

function connections(dialect: Dialect): Group {
  const edge = edgeLabels(dialect);
  const sides = dialect.connections;
  type Kind = keyof Connections;
  const has = (kind: Kind) => SIDES.some((side) => sides[side]?.[kind]);
  const perSecond =
    (kind: Kind, more: readonly string[] = []) =>
    (side: Side) => {
      const source = sides[side]?.[kind];
      return source && rate(source, [...edge, ...more], { window: WINDOW });
    };
  const recorded = (
    name: string,
    kind: Kind,
    more: string[] = [],
    labels?: Record<string, string>,
  ): Rule[] =>
    has(kind)
      ? [
          {
            record: `edge:meshtap_tcp_${name}:rate5m`,
            expr: byEdge(dialect, perSecond(kind, more), more),
            ...(labels && { labels }),
          },
        ]
      : [];
  const slowest = (name: string, kind: Kind): Rule[] =>
    has(kind)
      ? [
          {
            record: `edge:meshtap_tcp_${name}_seconds:p99_5m`,
            expr: quantile(0.99, `(\n${firstOf(...[...SIDES].reverse().map(perSecond(kind, ['le'])))}\n)`),
          },
        ]
      : [];
  const open = (side: Side) => sides[side] && sum(select(sides[side].opened), edge);
  const end = (name: 'source' | 'destination') =>
    relabelled('edge:meshtap_info', { [`${name}_namespace`]: 'namespace', [`${name}_service`]: 'service' }, [
      'cluster',
    ]);
  return {
    name: 'meshtap-connections',
    interval: '30s',
    rules: [
      { record: 'edge:meshtap_info', expr: `(\n${byEdge(dialect, open)}\n) ^ 0` },
      { record: 'service:meshtap_info', expr: `(\n${firstOf(end('source'), end('destination'))}\n) ^ 0` },
      ...recorded('connections_opened', 'opened'),
      ...recorded('connections_broken', 'broken', ['error_type']),
      ...recorded('connect_failures', 'failures', ['error_type']),
      ...recorded('bytes', 'toServer', [], { direction: 'to_server' }),
      ...recorded('bytes', 'toClient', [], { direction: 'to_client' }),
      // Each side counts what itself sends again.
      ...SIDES.flatMap((side) => {
        const expr = perSecond('retransmits')(side);
        return expr
          ? [{ record: 'edge:meshtap_tcp_retransmits:rate5m', expr, labels: { sender: side } }]
          : [];
      }),
      ...slowest('connect', 'connect'),
      ...slowest('rtt', 'rtt'),
    ],
  };
}

/** The agents themselves, which speak the same in every dialect. */
function agents(): Group {
  const entries = (...outcomes: string[]) =>
    rate(
      { metric: LEDGER, where: ['subject="requests"', `outcome=~"${outcomes.join('|')}"`] },
      ['cluster', 'job', 'instance'],
      { window: WINDOW },
    );
  return {
    name: 'meshtap-agents',
    interval: '30s',
    rules: [
      {
        record: 'agent:meshtap_requests_explained:rate5m',
        expr: entries('answered', 'failed', 'desynchronised', 'pipeline_full'),
      },
      { record: 'agent:meshtap_requests_measured:rate5m', expr: entries('answered', 'failed') },
      {
        record: 'agent:meshtap_coverage:ratio_rate5m',
        expr: 'agent:meshtap_requests_measured:rate5m / (agent:meshtap_requests_explained:rate5m > 0)',
      },
      { record: 'agent:meshtap_budget:ratio', expr: 'meshtap_budget_used / (meshtap_budget_limit > 0)' },
    ],
  };
}

/**
 * Shares of failed requests over longer windows, from what the shorter one recorded: weighted by traffic, and two
 * samples a minute to read instead of every series.
 */
function budgets(windows: readonly (typeof BUDGET_WINDOWS)[number][]): Group {
  const long = windows.includes('3d');
  return {
    name: long ? 'meshtap-budgets-long' : 'meshtap-budgets',
    interval: long ? '5m' : '1m',
    rules: windows.map((window) => {
      const over = (what: string) => sum(`sum_over_time(service:meshtap_${what}:rate5m[${window}])`, SERVICE);
      return {
        record: `service:meshtap_errors:ratio_rate${window}`,
        expr: `${over('errors')}\n/\n(${over('requests')} > 0)`,
      };
    }),
  };
}
