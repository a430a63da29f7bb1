import { dashboard } from './dashboard.js';
import type { Dialect } from './dialects.js';
import { graph, stat, table } from './panels.js';
import { quantile, rate, select, sum } from './promql.js';
import { CELL, CLUSTER, cluster, LABEL, namespace, toPair } from './variables.js';

const HERE = [CLUSTER, 'source_namespace=~"$namespace"'];
const PAIR = ['source_service', 'destination_service'];
const PAIR_NAME = '{{source_service}} → {{destination_service}}';
const links = [toPair(LABEL('source_service'), LABEL('destination_service'))];
const recorded = (name: string, ...more: string[]) =>
  select({ metric: `edge:meshtap_tcp_${name}` }, ...HERE, ...more);

/** All connections: which are refused, broken, slow, lossy; and the names that are looked up. */
export function tcpDns(dialect: Dialect) {
  const { client, server } = dialect.connections;
  const full = client?.failures && server?.broken;
  return dashboard({
    name: 'tcp-dns',
    title: dialect.dns ? 'TCP and DNS' : 'TCP',
    description: 'All connections between services, whatever they carry, and the names that are looked up.',
    variables: [cluster(), namespace()],
    sections: [
      ...(full ? [{ panels: figures() }] : []),
      {
        title: 'TCP',
        panels: full
          ? [...opened(12), ...health(), pairs()]
          : [...opened(24), ...(server?.toServer ? [payload(24)] : [])],
      },
      ...(dialect.dns ? [{ title: 'DNS', panels: dns(dialect.dns) }] : []),
    ],
  });
}

function figures() {
  const failures = sum(recorded('connect_failures:rate5m'), []);
  const opens = sum(recorded('connections_opened:rate5m'), []);
  return [
    stat({
      title: 'Connections opened',
      description: 'How many connections a second are established?',
      unit: 'cps',
      width: 6,
      queries: [{ expr: opens, legend: 'opened' }],
    }),
    stat({
      title: 'Connects that fail',
      description: 'What share of the attempts to connect is refused, finds no route, or is given up?',
      unit: 'percentunit',
      decimals: 2,
      width: 6,
      queries: [
        {
          expr: `(${failures} or vector(0)) / ((${opens} + (${failures} or vector(0))) > 0)`,
          legend: 'failed',
        },
      ],
      thresholds: [
        [0.01, 'yellow'],
        [0.05, 'red'],
      ],
    }),
    stat({
      title: 'Broken connections',
      description: 'How many connections a second end by a reset or a time-out?',
      unit: 'cps',
      width: 6,
      queries: [{ expr: `${sum(recorded('connections_broken:rate5m'), [])} or vector(0)`, legend: 'broken' }],
      thresholds: [[1, 'yellow']],
    }),
    stat({
      title: 'Retransmitted segments',
      description: 'How many segments a second are sent again, because they seem to be lost?',
      unit: 'short',
      decimals: 2,
      width: 6,
      queries: [{ expr: sum(recorded('retransmits:rate5m'), []), legend: 'per second' }],
      thresholds: [[10, 'yellow']],
    }),
  ];
}

function opened(width: number) {
  return [
    graph({
      title: 'Connections opened',
      description: 'Who opens the most connections, to whom? The ten most.',
      unit: 'cps',
      width,
      queries: [{ expr: `topk(10, ${recorded('connections_opened:rate5m')})`, legend: PAIR_NAME }],
      links,
    }),
  ];
}

function payload(width: number) {
  return graph({
    title: 'Payload',
    description: 'Which pairs exchange the most bytes? The ten most, each direction by itself.',
    unit: 'Bps',
    width,
    queries: [{ expr: `topk(10, ${recorded('bytes:rate5m')})`, legend: `${PAIR_NAME} {{direction}}` }],
    links,
  });
}

function health() {
  const top = (vector: string) => `topk(10, ${vector})`;
  return [
    payload(12),
    graph({
      title: 'Connects that fail',
      description:
        'Who can not connect to whom, and why? “refused”: nobody listens; “unreachable”: no route; “cancelled”: given up.',
      unit: 'cps',
      width: 12,
      queries: [{ expr: top(recorded('connect_failures:rate5m')), legend: `${PAIR_NAME} {{error_type}}` }],
      links,
    }),
    graph({
      title: 'Connections that break',
      description: 'Which connections end by a reset or a time-out instead of in order?',
      unit: 'cps',
      width: 12,
      queries: [
        {
          expr: top(recorded('connections_broken:rate5m')),
          legend: `${PAIR_NAME} {{error_type}}`,
        },
      ],
      links,
    }),
    graph({
      title: 'Retransmitted segments',
      description: 'Between whom does the network lose segments?',
      unit: 'short',
      width: 12,
      queries: [
        {
          expr: top(recorded('retransmits:rate5m')),
          legend: `${PAIR_NAME}, by the {{sender}}`,
        },
      ],
      links,
    }),
    graph({
      title: 'Connect latency, p99',
      description: 'Whose connections take longest to be established? Around 1 s and 3 s a SYN was lost.',
      unit: 's',
      width: 12,
      queries: [
        {
          expr: top(recorded('connect_seconds:p99_5m')),
          legend: PAIR_NAME,
        },
      ],
      links,
    }),
    graph({
      title: 'Round-trip time, p99',
      description: 'Between whom is the network slow, or its queues full?',
      unit: 's',
      width: 12,
      queries: [{ expr: top(recorded('rtt_seconds:p99_5m')), legend: PAIR_NAME }],
      links,
    }),
  ];
}

function pairs() {
  return table({
    title: 'Pairs of services',
    description: 'For every pair: how its connections are now.',
    width: 12,
    height: 8,
    queries: [
      { id: 'opened', expr: sum(recorded('connections_opened:rate5m'), PAIR) },
      { id: 'failures', expr: sum(recorded('connect_failures:rate5m'), PAIR) },
      { id: 'broken', expr: sum(recorded('connections_broken:rate5m'), PAIR) },
      { id: 'retransmits', expr: sum(recorded('retransmits:rate5m'), PAIR) },
    ],
    sortBy: 'Opened',
    columns: [
      { title: 'Client', field: 'source_service' },
      { title: 'Server', field: 'destination_service', links: [toPair(CELL('Client'), CELL('Server'))] },
      { title: 'Opened', field: 'Value #opened', unit: 'cps' },
      { title: 'Failed', field: 'Value #failures', unit: 'cps', thresholds: [[0.01, 'red']] },
      { title: 'Broken', field: 'Value #broken', unit: 'cps', thresholds: [[0.01, 'orange']] },
      { title: 'Resent', field: 'Value #retransmits', unit: 'short', thresholds: [[1, 'orange']] },
    ],
  });
}

function dns(family: 'otel' | 'hubble') {
  const matchers = HERE;
  if (family === 'hubble')
    return [
      graph({
        title: 'DNS queries',
        description: 'Who looks up names, of which types?',
        unit: 'reqps',
        width: 12,
        queries: [
          {
            expr: rate({ metric: 'hubble_dns_queries_total' }, ['source_service', 'qtypes'], { matchers }),
            legend: '{{source_service}} {{qtypes}}',
          },
        ],
      }),
      graph({
        title: 'DNS answers by code',
        description: 'Which lookups fail, and how?',
        unit: 'reqps',
        width: 12,
        queries: [
          {
            expr: rate({ metric: 'hubble_dns_responses_total' }, ['rcode'], { matchers: [CLUSTER] }),
            legend: '{{rcode}}',
          },
        ],
      }),
    ];
  const count = { metric: 'dns_lookup_duration_seconds_count' };
  const buckets = rate({ metric: 'dns_lookup_duration_seconds_bucket' }, ['le', 'source_service'], {
    matchers,
  });
  return [
    graph({
      title: 'DNS lookups by type',
      description:
        'Who looks up names, of which types? A lookup for each request is a client that does not remember.',
      unit: 'reqps',
      width: 8,
      queries: [
        {
          expr: rate(count, ['source_service', 'dns_question_type'], { matchers }),
          legend: '{{source_service}} {{dns_question_type}}',
        },
      ],
    }),
    graph({
      title: 'DNS lookups by code',
      description: 'Which lookups fail, and how? “timeout”: no answer within ten seconds.',
      unit: 'reqps',
      width: 8,
      queries: [
        {
          expr: rate(count, ['dns_response_code', 'error_type'], { matchers }),
          legend: '{{dns_response_code}} {{error_type}}',
        },
      ],
    }),
    graph({
      title: 'DNS lookup, p99',
      description: 'Whose lookups are slow?',
      unit: 's',
      width: 8,
      queries: [{ expr: `topk(10, ${quantile(0.99, buckets)})`, legend: '{{source_service}}' }],
    }),
  ];
}
