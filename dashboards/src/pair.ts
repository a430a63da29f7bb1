import { dashboard } from './dashboard.js';
import type { Connections, Dialect, Side, Source } from './dialects.js';
import { graph, heatmap, stat } from './panels.js';
import { firstOf, quantile, rate, select, sum } from './promql.js';
import { byStatus, calls, durations, firstByte, percentiles, type Scope } from './requests.js';
import { CLUSTER, cluster, destination, namespace, source } from './variables.js';

const EDGE = [
  CLUSTER,
  'source_namespace=~"$namespace"',
  'source_service="$source"',
  'destination_service="$destination"',
];
const recorded = (name: string, ...more: string[]) =>
  select({ metric: `edge:meshtap_${name}` }, ...EDGE, ...more);

/** One client and one server, in depth. */
export function pairDashboard(dialect: Dialect) {
  const { server, client } = dialect.requests;
  const matchers = [...EDGE.slice(0, 3), `${dialect.destination}="$destination"`];
  const seen: Scope = { title: 'Server', words: 'as $destination saw them', matchers };
  const felt: Scope = { title: 'Client', words: 'as $source saw them', matchers };
  return dashboard({
    name: 'pair',
    title: 'Service pair',
    description: 'One client and one server: requests from both ends, and the connections that carry them.',
    variables: [cluster(), namespace(), source(), destination()],
    sections: [
      { panels: figures() },
      {
        title: 'HTTP',
        panels: [
          byStatus(dialect, server!.count, seen, 8),
          percentiles(dialect, server!.duration, seen, 8),
          durations(dialect, server!.duration, seen, 8),
          ...(client
            ? [
                byStatus(dialect, client.count, felt, 8),
                percentiles(dialect, client.duration, felt, 8),
                between(dialect, server!.duration, client.duration, matchers),
              ]
            : []),
          ...(client?.firstByte ? [firstByte(client.firstByte, felt, 24)] : []),
        ],
      },
      { title: 'TCP', panels: connections(dialect.connections, matchers) },
      ...(dialect.calls ? [{ title: 'gRPC', panels: calls(dialect.calls.server, seen) }] : []),
    ],
  });
}

function figures() {
  const requests = sum(recorded('requests:rate5m'), []);
  return [
    stat({
      title: 'Requests',
      description: 'How many requests a second does the client send to the server?',
      unit: 'reqps',
      width: 6,
      queries: [{ expr: requests, legend: 'requests' }],
    }),
    stat({
      title: 'Failed',
      description: 'What share of them got a 5xx or no answer?',
      unit: 'percentunit',
      decimals: 2,
      width: 6,
      queries: [{ expr: `${sum(recorded('errors:rate5m'), [])} / (${requests} > 0)`, legend: 'failed' }],
      thresholds: [
        [0.01, 'yellow'],
        [0.05, 'red'],
      ],
    }),
    stat({
      title: 'Share of what the server gets',
      description: 'Is this client one of many, or the one that makes the load?',
      unit: 'percentunit',
      decimals: 0,
      width: 6,
      queries: [
        {
          expr: `${requests} / (sum(edge:meshtap_requests:rate5m{${CLUSTER}, destination_service="$destination"}) > 0)`,
          legend: 'share',
        },
      ],
    }),
    stat({
      title: 'Requests for each connection',
      description: 'Are connections kept open and used again? One or two means a handshake for each request.',
      unit: 'short',
      decimals: 1,
      width: 6,
      queries: [
        {
          expr: `${requests} / (${sum(recorded('tcp_connections_opened:rate5m'), [])} > 0)`,
          legend: 'requests',
        },
      ],
    }),
  ];
}

function between({ unit }: Dialect, server: Source, client: Source, matchers: string[]) {
  const p99 = (source: Source) => quantile(0.99, rate(source, ['le'], { matchers }));
  return graph({
    title: 'p99 at both ends',
    description:
      'Where is the time spent? What the client waits beyond what the server takes is the way there and back, and queues in between.',
    unit,
    width: 8,
    queries: [
      { expr: p99(client), legend: 'client' },
      { expr: p99(server), legend: 'server' },
    ],
  });
}

function connections({ server, client }: Readonly<Partial<Record<Side, Connections>>>, matchers: string[]) {
  const panels = [
    graph({
      title: 'Connections opened',
      description: 'How many connections does the client open?',
      unit: 'cps',
      width: 8,
      queries: [
        {
          expr: firstOf(...[server, client].map((side) => side && rate(side.opened, [], { matchers }))),
          legend: 'opened',
        },
      ],
    }),
  ];
  if (!server?.broken || !client?.failures || !client.connect || !client.rtt || !server.rtt) return panels;
  const percentiles = (buckets: Source, prefix = '') =>
    [0.5, 0.99].map((q) => ({
      expr: quantile(q, rate(buckets, ['le'], { matchers })),
      legend: `${prefix}p${q * 100}`,
    }));
  return [
    ...panels,
    graph({
      title: 'Connections refused or broken',
      description: 'Why are connections not established, and why do those that were end?',
      unit: 'cps',
      width: 8,
      queries: [
        { expr: rate(client.failures, ['error_type'], { matchers }), legend: 'connect {{error_type}}' },
        { expr: rate(server.broken, ['error_type'], { matchers }), legend: '{{error_type}}' },
      ],
    }),
    graph({
      title: 'Connect latency',
      description:
        'How long does a connection take to be established? About one round trip, unless the server’s queue is full or a SYN is lost (1 s).',
      unit: 's',
      width: 8,
      queries: percentiles(client.connect),
    }),
    graph({
      title: 'Round-trip time',
      description: 'How far apart are the two, in time, as each side’s TCP measures it?',
      unit: 's',
      width: 8,
      queries: [...percentiles(client.rtt, 'client '), ...percentiles(server.rtt, 'server ')],
    }),
    graph({
      title: 'Retransmitted segments',
      description: 'Does the network lose segments, and in which direction?',
      unit: 'short',
      width: 8,
      queries: [
        { expr: recorded('tcp_retransmits:rate5m'), legend: 'sent again by the {{sender}}, per second' },
      ],
    }),
    graph({
      title: 'Payload',
      description: 'How many bytes pass, without retransmissions?',
      unit: 'Bps',
      width: 8,
      queries: [{ expr: sum(recorded('tcp_bytes:rate5m'), ['direction']), legend: '{{direction}}' }],
    }),
    heatmap({
      title: 'How often which connect latency',
      description: 'Are a few connects very slow (lost SYNs: 1 s, 3 s), or all of them a little?',
      unit: 's',
      width: 24,
      queries: [{ expr: rate(client.connect, ['le'], { matchers }) }],
    }),
  ];
}
