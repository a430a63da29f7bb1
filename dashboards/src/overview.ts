import { dashboard } from './dashboard.js';
import type { Dialect } from './dialects.js';
import { graph, nodeGraph, stat, table } from './panels.js';
import { firstOf, quantile, rate, select, sum } from './promql.js';
import { CELL, CLUSTER, cluster, LABEL, namespace, toPair, toService } from './variables.js';

const HERE = [CLUSTER, 'namespace=~"$namespace"'];
const INTO = [CLUSTER, 'destination_namespace=~"$namespace"', 'destination_service!=""'];
const SERVICES = ['cluster', 'namespace', 'service'];
const EDGES = ['source_namespace', 'source_service', 'destination_namespace', 'destination_service'];

const of = (metric: string) => select({ metric }, ...HERE);
const into = (metric: string) => select({ metric }, ...INTO);

const REQUESTS = of('service:meshtap_requests:rate5m');
const ERRORS = of('service:meshtap_errors:rate5m');
const BUCKETS = sum(of('namespace:meshtap_request_duration_bucket:rate5m'), ['le']);

/** All services at a glance. Everything here is from recording rules, so it costs the same for ten services and for a thousand. */
export function overview(dialect: Dialect) {
  const { unit } = dialect;
  return dashboard({
    name: 'overview',
    title: 'Overview',
    description:
      'All services: how much, how well, how fast, who talks to whom, and whether meshtap sees all of it.',
    variables: [cluster(), namespace()],
    sections: [
      { panels: figures(unit) },
      { title: 'Who talks to whom', panels: [graphOfServices(), talkers()] },
      { title: 'Services', panels: [services()] },
      { title: 'Over time', panels: overTime(dialect) },
      { title: 'meshtap itself', panels: budgets() },
    ],
  });
}

function figures(unit: string) {
  return [
    stat({
      title: 'Requests',
      description:
        'How much traffic is there? Each request once: from its server, or from its client where nobody watches the server.',
      unit: 'reqps',
      queries: [{ expr: sum(REQUESTS, []), legend: 'requests' }],
      width: 4,
    }),
    stat({
      title: 'Failed',
      description: 'What share of all requests got a 5xx or no answer at all?',
      unit: 'percentunit',
      decimals: 2,
      queries: [{ expr: `${sum(ERRORS, [])} / (${sum(REQUESTS, [])} > 0)`, legend: 'failed' }],
      width: 4,
      thresholds: [
        [0.01, 'yellow'],
        [0.05, 'red'],
      ],
    }),
    stat({
      title: 'p99',
      description: 'How long do the slowest one in a hundred of all requests take?',
      unit,
      queries: [{ expr: quantile(0.99, BUCKETS), legend: 'p99' }],
      width: 4,
    }),
    stat({
      title: 'Services',
      description: 'How many services were asked in the last minutes?',
      unit: 'short',
      queries: [{ expr: `count(${sum(`${REQUESTS} > 0`, SERVICES)})`, legend: 'services' }],
      width: 4,
    }),
    stat({
      title: 'Objectives missed',
      description:
        'How many services fail more requests over the last hour than their objective allows, or are slower now?',
      unit: 'short',
      queries: [
        {
          expr: [
            'count(',
            `  ${of('service:meshtap_errors:ratio_rate1h')} > 1 - service:meshtap_objective_availability:ratio`,
            'or',
            `  ${of('service:meshtap_request_duration_seconds:p99_5m')} > service:meshtap_objective_p99:seconds`,
            ') or vector(0)',
          ].join('\n'),
          legend: 'services',
        },
      ],
      plain: true,
      width: 4,
      thresholds: [[1, 'red']],
    }),
    stat({
      title: 'Coverage',
      description:
        'Of the requests that meshtap saw, what share could it measure? Below 99 % the ledger on “meshtap itself” says why.',
      unit: 'percentunit',
      decimals: 2,
      queries: [
        {
          expr: `${sum(agent('requests_measured:rate5m'), [])} / (${sum(agent('requests_explained:rate5m'), [])} > 0)`,
          legend: 'coverage',
        },
      ],
      width: 4,
    }),
  ];
}

const agent = (name: string) => select({ metric: `agent:meshtap_${name}` }, CLUSTER);

function graphOfServices() {
  const node = (vector: string, from: 'source' | 'destination') =>
    `label_join(${vector}, "id", "/", "${from}_namespace", "${from}_service")`;
  const ids = (vector: string) =>
    `label_join(label_join(${vector}, "source", "/", "source_namespace", "source_service"), "target", "/", "destination_namespace", "destination_service")`;
  const edge = (vector: string) =>
    `sum by (id, source, target, source_service, destination_service) (label_join(${ids(vector)}, "id", " ", "source", "target"))`;
  const named = (vector: string, from: 'source' | 'destination') =>
    `sum by (id, title, subtitle) (label_replace(label_replace(${node(vector, from)}, "title", "$1", "${from}_service", "(.*)"), "subtitle", "$1", "${from}_namespace", "(.*)"))`;
  const requests = into('edge:meshtap_requests:rate5m');
  const errors = into('edge:meshtap_errors:rate5m');
  const total = (vector: string) => `sum by (id) (${node(vector, 'destination')})`;
  const failed = `${total(errors)} / (${total(requests)} > 0)`;
  return nodeGraph({
    title: 'Service graph',
    description:
      'Who asks whom, and where does it fail? Number in a circle: requests a second that come in. Ring: red is the share of them that fails. At a line: requests a second, and the share that fails.',
    width: 14,
    statUnit: 'reqps',
    // Who only asks has no requests of its own to show.
    nodes: firstOf(named(requests, 'destination'), `0 * ${named(requests, 'source')}`),
    failed,
    healthy: `1 - ${failed}`,
    edges: edge(requests),
    edgesFailed: `sum by (id) (label_join(${ids(errors)}, "id", " ", "source", "target")) / (sum by (id) (label_join(${ids(requests)}, "id", " ", "source", "target")) > 0)`,
    nodeLink: toService(CELL('title'), '$__all'),
    edgeLink: toPair(CELL('source_service'), CELL('destination_service')),
  });
}

function talkers() {
  const requests = sum(into('edge:meshtap_requests:rate5m'), EDGES);
  return table({
    title: 'Top talkers',
    description: 'Which pairs of services exchange the most requests, and how many of them fail?',
    width: 10,
    height: 14,
    queries: [
      { id: 'requests', expr: `topk(25, ${requests})` },
      {
        id: 'failed',
        expr: `${sum(into('edge:meshtap_errors:rate5m'), EDGES)} / (topk(25, ${requests}) > 0)`,
      },
    ],
    sortBy: 'Requests',
    columns: [
      { title: 'Client', field: 'source_service' },
      {
        title: 'Server',
        field: 'destination_service',
        links: [toPair(CELL('Client'), CELL('Server'))],
      },
      { title: 'Requests', field: 'Value #requests', unit: 'reqps', width: 100 },
      failedColumn,
    ],
  });
}

const failedColumn = {
  title: 'Failed',
  field: 'Value #failed',
  unit: 'percentunit',
  decimals: 2,
  width: 90,
  thresholds: [
    [0.01, 'orange'],
    [0.05, 'red'],
  ],
} as const;

function services() {
  const percentile = (percent: number) => ({
    id: `p${percent}`,
    expr: sum(of(`service:meshtap_request_duration_seconds:p${percent}_5m`), SERVICES),
  });
  return table({
    title: 'Services',
    description:
      'For each service, what came in over the last five minutes: how much, what share failed, how long it took.',
    width: 24,
    queries: [
      { id: 'requests', expr: sum(REQUESTS, SERVICES) },
      { id: 'failed', expr: sum(of('service:meshtap_errors:ratio_rate5m'), SERVICES) },
      percentile(50),
      percentile(95),
      percentile(99),
    ],
    sortBy: 'Requests',
    columns: [
      { title: 'Namespace', field: 'namespace' },
      { title: 'Service', field: 'service', links: [toService(CELL('Service'), '$__all')] },
      { title: 'Requests', field: 'Value #requests', unit: 'reqps' },
      { ...failedColumn, width: 120 },
      { title: 'p50', field: 'Value #p50', unit: 's' },
      { title: 'p95', field: 'Value #p95', unit: 's' },
      { title: 'p99', field: 'Value #p99', unit: 's' },
    ],
  });
}

function overTime({ unit, calls }: Dialect) {
  const links = [toService(LABEL('service'), LABEL('namespace'))];
  const top = (vector: string) => `topk(10, ${vector})`;
  return [
    graph({
      title: 'Requests by service',
      description: 'Which ten services are asked most, and does that change?',
      unit: 'reqps',
      width: 12,
      queries: [{ expr: top(REQUESTS), legend: '{{service}}' }],
      links,
    }),
    graph({
      title: 'Failed by service',
      description:
        'Which services answer with 5xx, or do not answer? The line at 1 % is a reminder, not an objective.',
      unit: 'percentunit',
      width: 12,
      queries: [{ expr: top(of('service:meshtap_errors:ratio_rate5m')), legend: '{{service}}' }],
      thresholds: [[0.01, 'red']],
      links,
    }),
    graph({
      title: 'Latency of all requests',
      description: 'Is everything slower than before, or only the slowest requests?',
      unit,
      width: 12,
      queries: [0.5, 0.95, 0.99].map((q) => ({ expr: quantile(q, BUCKETS), legend: `p${q * 100}` })),
    }),
    graph({
      title: 'p99 by service',
      description: 'Which ten services are the slowest?',
      unit: 's',
      width: 12,
      queries: [{ expr: top(of('service:meshtap_request_duration_seconds:p99_5m')), legend: '{{service}}' }],
      links,
    }),
    ...(calls
      ? [
          graph({
            title: 'gRPC errors by service',
            description:
              'Which services answer gRPC calls with an error status, and with which? (Over HTTP such a call is a 200.)',
            unit: 'reqps',
            width: 24,
            queries: [
              {
                expr: `topk(10, ${rate(
                  calls.server.failed,
                  ['destination_service', 'rpc_response_status_code'],
                  {
                    matchers: [CLUSTER, 'destination_namespace=~"$namespace"'],
                  },
                )})`,
                legend: '{{destination_service}} {{rpc_response_status_code}}',
              },
            ],
          }),
        ]
      : []),
  ];
}

function budgets() {
  return [
    graph({
      title: 'Budgets used',
      description:
        'Is any agent about to run out of room for pairs or series? What exceeds a budget is counted without names.',
      unit: 'percentunit',
      width: 12,
      max: 1,
      queries: [{ expr: `max by (budget) (${agent('budget:ratio')})`, legend: '{{budget}}, fullest agent' }],
      thresholds: [[0.9, 'red']],
    }),
    graph({
      title: 'Coverage by agent',
      description: 'Which agents can not measure all requests that they see? The worst ten.',
      unit: 'percentunit',
      width: 12,
      max: 1,
      queries: [{ expr: `bottomk(10, ${agent('coverage:ratio_rate5m')})`, legend: '{{instance}}' }],
    }),
  ];
}
