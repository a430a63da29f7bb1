import { dashboard } from './dashboard.js';
import type { Dialect } from './dialects.js';
import { graph, stat } from './panels.js';
import { quantile, rate, select, sum } from './promql.js';
import { byStatus, calls, durations, firstByte, percentiles, type Scope } from './requests.js';
import { CLUSTER, cluster, LABEL, namespace, service, toPair } from './variables.js';

const THIS = [CLUSTER, 'namespace=~"$namespace"', 'service="$service"'];
const from = [CLUSTER, 'source_namespace=~"$namespace"', 'source_service="$service"'];
const recorded = (name: string) => select({ metric: `service:meshtap_${name}` }, ...THIS);

/** One service: what comes in, what goes out, how its connections are. */
export function serviceDashboard(dialect: Dialect) {
  const { server, client = server } = dialect.requests;
  const to = [CLUSTER, 'destination_namespace=~"$namespace"', `${dialect.destination}="$service"`];
  const inbound: Scope = { title: 'In', words: 'to this service', matchers: to };
  const outbound: Scope = { title: 'Out', words: 'from this service', matchers: from };
  return dashboard({
    name: 'service',
    title: 'Service',
    description:
      'One service: its objectives, what it is asked and how it answers, what it asks others, how its connections are.',
    variables: [cluster(), namespace(), service()],
    sections: [
      { panels: figures() },
      {
        title: 'In: what $service is asked',
        panels: [
          byPeer(server!.count, inbound, 'source_service', 8),
          byStatus(dialect, server!.count, inbound, 8),
          failuresByPeer(server!, inbound, 'source_service', 8),
          percentiles(dialect, server!.duration, inbound, 8),
          durations(dialect, server!.duration, inbound, server!.firstByte ? 8 : 16),
          ...(server!.firstByte ? [firstByte(server!.firstByte, inbound, 8)] : []),
          ...routes(dialect, inbound),
        ],
      },
      {
        title: 'Out: what $service asks others',
        panels: [
          byPeer(client!.count, outbound, dialect.destination, 8),
          failuresByPeer(client!, outbound, dialect.destination, 8),
          slowestPeers(dialect, client!, outbound, 8),
        ],
      },
      { title: 'TCP', panels: connections(dialect) },
      ...(dialect.calls
        ? [
            {
              title: 'gRPC',
              panels: [...calls(dialect.calls.server, inbound), ...calls(dialect.calls.client, outbound)],
            },
          ]
        : []),
    ],
  });
}

function figures() {
  return [
    stat({
      title: 'Requests in',
      description: 'How many requests a second does this service get?',
      unit: 'reqps',
      width: 4,
      queries: [{ expr: sum(recorded('requests:rate5m'), []), legend: 'requests' }],
    }),
    stat({
      title: 'Failed',
      description: 'What share of them got a 5xx or no answer?',
      unit: 'percentunit',
      decimals: 2,
      width: 4,
      queries: [
        {
          expr: `${sum(recorded('errors:rate5m'), [])} / (${sum(recorded('requests:rate5m'), [])} > 0)`,
          legend: 'failed',
        },
      ],
      thresholds: [
        [0.001, 'yellow'],
        [0.01, 'red'],
      ],
    }),
    stat({
      title: 'p99',
      description: 'How long do the slowest one in a hundred take?',
      unit: 's',
      width: 4,
      queries: [{ expr: `max(${recorded('request_duration_seconds:p99_5m')})`, legend: 'p99' }],
    }),
    stat({
      title: 'p99 against objective',
      description: 'Is it as fast as was promised? Above 100 % is slower.',
      unit: 'percentunit',
      decimals: 0,
      width: 4,
      queries: [
        {
          expr: `max(${recorded('request_duration_seconds:p99_5m')} / ${recorded('objective_p99:seconds')})`,
          legend: 'of the objective',
        },
      ],
      thresholds: [
        [0.8, 'yellow'],
        [1, 'red'],
      ],
    }),
    stat({
      title: 'Budget burn, 1 h',
      description: 'How fast is the error budget spent? At 1 it lasts exactly 30 days, at 14.4 two.',
      unit: 'none',
      decimals: 1,
      width: 4,
      queries: [
        {
          expr: `max(${recorded('errors:ratio_rate1h')} / (1 - ${recorded('objective_availability:ratio')}))`,
          legend: 'burn rate',
        },
      ],
      thresholds: [
        [1, 'yellow'],
        [14.4, 'red'],
      ],
    }),
    stat({
      title: 'Availability, 3 days',
      description: 'What share of the requests of the last three days was answered, and not with 5xx?',
      unit: 'percentunit',
      decimals: 3,
      width: 4,
      queries: [{ expr: `1 - max(${recorded('errors:ratio_rate3d')})`, legend: 'availability' }],
    }),
  ];
}

type Requests = NonNullable<Dialect['requests']['server']>;
type Peer = string;

/** Between this service and the peer in that label. */
function pairOf(peer: Peer) {
  return [peer === 'source_service' ? toPair(LABEL(peer), '${service}') : toPair('${service}', LABEL(peer))];
}

function byPeer(count: Requests['count'], { title, words, matchers }: Scope, peer: Peer, width: number) {
  return graph({
    title: `${title} by peer`,
    description: `Who is at the other end of requests ${words}, and how many are there?`,
    unit: 'reqps',
    width,
    stacked: true,
    queries: [{ expr: rate(count, [peer], { matchers }), legend: `{{${peer}}}` }],
    links: pairOf(peer),
  });
}

function failuresByPeer(
  { failed, count }: Requests,
  { title, words, matchers }: Scope,
  peer: Peer,
  width: number,
) {
  const all = rate(count, [peer], { matchers });
  return graph({
    title: `${title}: failed by peer`,
    description: `What share of the requests ${words} gets a 5xx or no answer, for each peer?`,
    unit: 'percentunit',
    width,
    queries: [
      { expr: `(${rate(failed, [peer], { matchers })} or 0 * ${all}) / (${all} > 0)`, legend: `{{${peer}}}` },
    ],
    thresholds: [[0.01, 'red']],
    links: pairOf(peer),
  });
}

function slowestPeers(
  { unit, destination: peer }: Dialect,
  { duration }: Requests,
  { title, words, matchers }: Scope,
  width: number,
) {
  return graph({
    title: `${title}: p99 by peer`,
    description: `Which of the services that are asked ${words} are slow?`,
    unit,
    width,
    queries: [{ expr: quantile(0.99, rate(duration, ['le', peer], { matchers })), legend: `{{${peer}}}` }],
    links: pairOf(peer),
  });
}

function routes({ method, route, requests }: Dialect, { matchers }: Scope) {
  if (!method) return [];
  const labels = route ? [method, route] : [method];
  return [
    graph({
      title: 'In by method and route',
      description: 'What is asked for? Routes stand there where some are configured, else only the method.',
      unit: 'reqps',
      width: 24,
      table: true,
      queries: [
        {
          expr: rate(requests.server!.count, labels, { matchers }),
          legend: labels.map((label) => `{{${label}}}`).join(' '),
        },
      ],
    }),
  ];
}

const EITHER = (kind: string, more: string[] = []) => {
  const metric = `edge:meshtap_tcp_${kind}`;
  const at = (end: 'source' | 'destination') =>
    select({ metric }, CLUSTER, `${end}_namespace=~"$namespace"`, `${end}_service="$service"`, ...more);
  return `(${at('source')} or ${at('destination')})`;
};

const PAIR = ['source_service', 'destination_service'];
const PAIR_NAME = '{{source_service}} → {{destination_service}}';

function connections({ connections: { client, server } }: Dialect) {
  const links = [toPair(LABEL('source_service'), LABEL('destination_service'))];
  return [
    graph({
      title: 'Connections opened',
      description:
        'How many connections does this service open and accept? Many, for few requests: nobody keeps them open.',
      unit: 'cps',
      width: 8,
      queries: [{ expr: sum(EITHER('connections_opened:rate5m'), PAIR), legend: PAIR_NAME }],
      links,
    }),
    ...(client?.failures && server?.broken
      ? [
          graph({
            title: 'Connections refused or broken',
            description:
              'Which connections of this service are not established, or end by a reset or a time-out?',
            unit: 'cps',
            width: 8,
            queries: [
              {
                expr: sum(EITHER('connect_failures:rate5m'), [...PAIR, 'error_type']),
                legend: `${PAIR_NAME} connect {{error_type}}`,
              },
              {
                expr: sum(EITHER('connections_broken:rate5m'), [...PAIR, 'error_type']),
                legend: `${PAIR_NAME} {{error_type}}`,
              },
            ],
            links,
          }),
        ]
      : []),
    ...(client?.retransmits
      ? [
          graph({
            title: 'Retransmitted segments',
            description: 'Does the network between this service and its peers lose segments?',
            unit: 'short',
            width: 8,
            queries: [{ expr: sum(EITHER('retransmits:rate5m'), PAIR), legend: `${PAIR_NAME} per second` }],
            links,
          }),
        ]
      : []),
    ...(client?.rtt
      ? [
          graph({
            title: 'Round-trip time, p99',
            description:
              'How far away are the peers, in time? Queues in the network show here before they show in latency.',
            unit: 's',
            width: 12,
            queries: [
              { expr: `max by (${PAIR.join(', ')}) ${EITHER('rtt_seconds:p99_5m')}`, legend: PAIR_NAME },
            ],
            links,
          }),
        ]
      : []),
    ...(client?.toServer
      ? [
          graph({
            title: 'Payload',
            description: 'How many bytes pass, without retransmissions, and which way?',
            unit: 'Bps',
            width: 12,
            queries: [
              { expr: sum(EITHER('bytes:rate5m', ['direction="to_server"']), PAIR), legend: PAIR_NAME },
              {
                expr: sum(EITHER('bytes:rate5m', ['direction="to_client"']), PAIR),
                legend: '{{source_service}} ← {{destination_service}}',
              },
            ],
            links,
          }),
        ]
      : []),
  ];
}
