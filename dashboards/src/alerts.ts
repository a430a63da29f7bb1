/**
 * Alerts, and the objectives they stand on. Each has a section in docs/runbook.md under its name.
 *
 * @module
 */

import type { Dialect } from './dialects.js';
import { EDGE, sum } from './promql.js';
import type { Group, Rule } from './rules.js';

/** What holds for services without an objective of their own. */
export const DEFAULTS = { availability: 0.999, p99Seconds: 1 } as const;

interface Alert {
  readonly name: string;
  readonly expr: string;
  readonly for: string;
  readonly severity: 'critical' | 'warning';
  /** What is wrong, with where and how much. */
  readonly summary: string;
  readonly description: string;
}

function rule({ name, expr, severity, summary, description, ...alert }: Alert): Rule {
  return {
    alert: name,
    expr,
    for: alert.for,
    labels: { severity },
    annotations: { summary, description, runbook: `docs/runbook.md#${name.toLowerCase()}` },
  };
}

const SERVICE = '{{ with $labels.namespace }}{{ . }}/{{ end }}{{ $labels.service }}';
const PAIR = '{{ $labels.source_service }} → {{ $labels.destination_service }}';
/** Nobody has promised anything for these. */
const NAMED = '{service!~"unknown|world|"}';

export function alertingRules(dialect: Dialect): Group[] {
  const { client } = dialect.connections;
  return [
    { name: 'meshtap-services', rules: [budgetFast(), budgetSlow(), latency()].map(rule) },
    ...(client?.failures && client.retransmits
      ? [{ name: 'meshtap-network', rules: [connectFailures(), retransmits()].map(rule) }]
      : []),
    { name: 'meshtap-self', rules: [coverage(), agentDown(), budgetSpent()].map(rule) },
  ];
}

/**
 * Multi-window, multi-burn-rate (https://sre.google/workbook/alerting-on-slos/, table 5-8): the long window says that
 * it matters, the short one that it still goes on. A factor of 1 spends the budget in exactly 30 days.
 */
function burns(...windows: readonly (readonly [factor: number, long: string, short: string])[]): string {
  const exceeds = (window: string, factor: number) =>
    `service:meshtap_errors:ratio_rate${window}${NAMED} > ${factor} * (1 - service:meshtap_objective_availability:ratio)`;
  return windows
    .map(([factor, long, short]) => `(\n  ${exceeds(long, factor)}\nand\n  ${exceeds(short, factor)}\n)`)
    .join('\nor\n');
}

const budgetFast = (): Alert => ({
  name: 'MeshtapErrorBudgetBurnsFast',
  expr: burns([14.4, '1h', '5m'], [6, '6h', '30m']),
  for: '2m',
  severity: 'critical',
  summary: `${SERVICE} fails {{ $value | humanizePercentage }} of its requests`,
  description:
    'At this rate the error budget of 30 days is spent within days: 2 % of it went in the last hour, or 5 % in six.',
});

const budgetSlow = (): Alert => ({
  name: 'MeshtapErrorBudgetBurnsSlowly',
  expr: burns([3, '1d', '2h'], [1, '3d', '6h']),
  for: '15m',
  severity: 'warning',
  summary: `${SERVICE} fails {{ $value | humanizePercentage }} of its requests, for hours`,
  description: 'The error budget of 30 days will not last: 10 % of it went in the last day, or in three.',
});

const latency = (): Alert => ({
  name: 'MeshtapLatencyObjectiveMissed',
  expr: [
    `service:meshtap_request_duration_seconds:p99_5m${NAMED} > service:meshtap_objective_p99:seconds`,
    // The slowest of a handful of requests is no percentile.
    'and service:meshtap_requests:rate5m > 0.5',
  ].join('\n'),
  for: '10m',
  severity: 'warning',
  summary: `p99 of ${SERVICE} is {{ $value | humanizeDuration }}`,
  description: 'One in a hundred requests takes longer than the objective of this service allows.',
});

const connectFailures = (): Alert => {
  const failures = sum('edge:meshtap_tcp_connect_failures:rate5m', EDGE);
  const opened = 'edge:meshtap_tcp_connections_opened:rate5m';
  return {
    name: 'MeshtapConnectFailures',
    expr: `${failures}\n/\n(${failures} + (${opened} or 0 * ${failures})) > 0.05\nand ${failures} > 0.1`,
    for: '5m',
    severity: 'warning',
    summary: `${PAIR}: {{ $value | humanizePercentage }} of the connects fail`,
    description: 'Connections are refused, find no route, or are given up before they are established.',
  };
};

const retransmits = (): Alert => {
  const now = 'edge:meshtap_tcp_retransmits:rate5m';
  return {
    name: 'MeshtapRetransmitSurge',
    expr: `${now} > 1\nand ${now} > 5 * avg_over_time(${now}[6h] offset 10m)`,
    for: '10m',
    severity: 'warning',
    summary: `${PAIR}: the {{ $labels.sender }} sends {{ $value | humanize }} segments a second again`,
    description: 'More than five times what was usual in the last six hours: segments are lost on the way.',
  };
};

const coverage = (): Alert => ({
  name: 'MeshtapCoverageLow',
  expr: 'agent:meshtap_coverage:ratio_rate5m < 0.99\nand agent:meshtap_requests_explained:rate5m > 0.1',
  for: '10m',
  severity: 'warning',
  summary: '{{ $labels.instance }} measures only {{ $value | humanizePercentage }} of the requests it sees',
  description: 'The ledger says why; rates and latencies of services on this node are incomplete meanwhile.',
});

const agentDown = (): Alert => ({
  name: 'MeshtapAgentDown',
  expr: 'up{job=~".*meshtap.*"} == 0',
  for: '5m',
  severity: 'critical',
  summary: '{{ $labels.instance }} is not there',
  description:
    'Nothing is known about services on this node. The kernel goes on counting, so totals will be right again.',
});

const budgetSpent = (): Alert => ({
  name: 'MeshtapBudgetNearlySpent',
  expr: 'agent:meshtap_budget:ratio > 0.9',
  for: '15m',
  severity: 'warning',
  summary:
    '{{ $labels.instance }} has used {{ $value | humanizePercentage }} of its budget of {{ $labels.budget }}',
  description: 'What exceeds a budget is counted without names.',
});

/** Gives every service its objectives: its own, or else the default. */
export function objectiveRules(): Group {
  const every = '0 * service:meshtap_requests:rate5m';
  const effective = (record: string, own: string, fallback: string): Rule => ({
    record,
    expr: [
      `(${every} + on (namespace, service) group_left () ${own})`,
      'or',
      `(${every} + on () group_left () ${fallback})`,
    ].join('\n'),
  });
  return {
    name: 'meshtap-objectives',
    rules: [
      effective(
        'service:meshtap_objective_availability:ratio',
        'meshtap:objective_availability:own',
        'meshtap:objective_availability:default',
      ),
      effective(
        'service:meshtap_objective_p99:seconds',
        'meshtap:objective_p99_seconds:own',
        'meshtap:objective_p99_seconds:default',
      ),
    ],
  };
}

/** The one file that is the user's to change. */
export const OBJECTIVES_FILE = `# What your services promise. This file is yours: meshtap dashboards leaves it alone if it is there.
groups:
  - name: meshtap-objectives-of-your-own
    rules:
      # Share of requests that get an answer other than 5xx, over 30 days.
      - record: meshtap:objective_availability:default
        expr: vector(${DEFAULTS.availability})
      # Longest that one request in a hundred may take, seconds.
      - record: meshtap:objective_p99_seconds:default
        expr: vector(${DEFAULTS.p99Seconds})
      # Another one for one service; leave the namespace out where there is none:
      #
      # - record: meshtap:objective_availability:own
      #   expr: vector(0.9999)
      #   labels: { namespace: shop, service: checkout }
      # - record: meshtap:objective_p99_seconds:own
      #   expr: vector(0.25)
      #   labels: { namespace: shop, service: checkout }
`;
