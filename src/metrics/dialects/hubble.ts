/**
 * The names and labels of Hubble's metrics (https://docs.cilium.io/en/stable/observability/metrics/#hubble-metrics),
 * so that queries and dashboards made for Hubble work.
 *
 * Hubble counts a request at both ends and leaves it to each query to pick a `reporter`. Here each request and each
 * connection is reported once, so that sums are true: by the server's side, and by the client's only where nobody
 * watches the server. `traffic_direction` says which: `ingress` is the server's, `egress` the client's.
 *
 * Hubble has one status for a request, HTTP's. A gRPC call that failed has the one that says so (`UNAVAILABLE` is 503),
 * though its answer came with 200: so it is an error to every query that looks for errors.
 *
 * @module
 */

import type { Identity } from '../../identity/identity.js';
import type { Role } from '../../receivers/counts.js';
import type { Attributes, MetricFamily } from '../family.js';
import { codeWords } from '../lookups.js';
import { type Ends, reported, type Snapshot } from '../model.js';
import { overallStatus } from '../outcome.js';
import { extended, HistogramPoints, NumberPoints, namelessLabels, pairLabels } from '../points.js';
import type { Dialect } from './dialect.js';

export function hubble(): Dialect {
  return { name: 'hubble', families };
}

function families(snapshot: Snapshot): MetricFamily[] {
  const flows = new NumberPoints();
  const requests = new NumberPoints();
  const responses = new NumberPoints();
  const duration = new HistogramPoints();
  const latency = new HistogramPoints();
  const queries = new NumberPoints();
  const answers = new NumberPoints();
  const answerTypes = new NumberPoints();

  const named = pairLabels(contextAttributes);

  for (const { ends, counts } of snapshot.requests) {
    if (!reported(ends)) continue;
    const none = nameless(ends, counts);
    const context = none ?? named(ends);
    const having = (more: Attributes) => none ?? extended(context, more);
    const { method } = counts;
    const count = counts.duration.count + (counts.untimed ?? 0);
    const reporter = ends.role;
    const protocol = `HTTP/${counts.version}`;
    const status = String(overallStatus(counts) ?? '');

    flows.add(extended(context, REQUEST), count);
    requests.add(having({ method, protocol, status, reporter }), count);
    // What got no answer was forwarded all the same, but there is no response to count and no latency to tell. Of what
    // exceeds the budget nobody knows.
    if (counts.status === undefined && (!none || ends.retired)) continue;
    responses.add(having({ method, protocol, status, status_code: status, reporter }), count);
    duration.add(having({ method, reporter }), counts.duration);
    latency.add(context, counts.duration);
  }
  for (const { ends, counts } of snapshot.connections) {
    if (!reported(ends)) continue;
    const context = nameless(ends) ?? named(ends);
    flows.add(extended(context, CONNECTION), counts.opened);
  }

  for (const { ends, counts } of snapshot.lookups) {
    if (!reported(ends)) continue;
    const none = nameless(ends, counts);
    const having = (more: Attributes) => none ?? extended(named(ends), more);
    const { type: qtypes, code, addresses, queries: begun, duration, records } = counts;
    if (begun > 0) queries.add(having({ rcode: '', qtypes, ips_returned: '0' }), begun);
    const rcode = code === undefined ? '' : codeWords(code);
    if (duration.count > 0)
      answers.add(having({ rcode, qtypes, ips_returned: String(addresses) }), duration.count);
    for (const [type, count] of Object.entries(records)) answerTypes.add(having({ type, qtypes }), count);
  }

  const { startedAt, boundaries } = snapshot;
  const counter = (name: string, unit: string, description: string, points: NumberPoints): MetricFamily => ({
    type: 'counter',
    name,
    prometheusName: name,
    description,
    unit,
    startedAt,
    points: points.list(),
  });
  const histogram = (name: string, description: string, points: HistogramPoints): MetricFamily => ({
    type: 'histogram',
    name,
    prometheusName: name,
    description,
    unit: 's',
    startedAt,
    boundaries,
    points: points.list(),
  });
  return [
    counter(
      'hubble_flows_processed_total',
      '{flow}',
      'HTTP requests (l7_protocol="http") and TCP connections established (l7_protocol="").',
      flows,
    ),
    counter(
      'hubble_http_requests_total',
      '{request}',
      'HTTP requests; status is empty where no answer came.',
      requests,
    ),
    counter('hubble_http_responses_total', '{response}', 'HTTP responses.', responses),
    histogram('hubble_http_request_duration_seconds', 'Duration of answered HTTP requests.', duration),
    histogram(
      'hubble_tcp_latency_seconds',
      'Latency of a request and its answer on the TCP connection: first byte of the request to last byte of the answer.',
      latency,
    ),
    counter(
      'hubble_dns_queries_total',
      '{query}',
      'DNS queries; one that is sent again is the same.',
      queries,
    ),
    counter('hubble_dns_responses_total', '{response}', 'DNS answers to them.', answers),
    counter(
      'hubble_dns_response_types_total',
      '{record}',
      'Records in these answers, by their type.',
      answerTypes,
    ),
  ].filter(({ points }) => points.length > 0);
}

const REQUEST = { verdict: 'FORWARDED', type: 'L7', subtype: 'HTTP', protocol: 'HTTP', l7_protocol: 'http' };
/** No `l7_protocol`: queries for requests, such as the article's, must not count connections too. */
const CONNECTION = { verdict: 'FORWARDED', type: 'L3_L4', subtype: '', protocol: 'TCP', l7_protocol: '' };

function direction(role: Role): string {
  return role === 'server' ? 'ingress' : 'egress';
}

const nameless = namelessLabels((role) => ({ traffic_direction: direction(role) }));

function contextAttributes({ role, source, destination }: Ends): Attributes {
  return {
    source: who(source),
    source_service: source.service,
    source_namespace: source.namespace,
    source_workload: source.workload,
    destination: who(destination),
    destination_service: destination.service,
    destination_namespace: destination.namespace,
    destination_workload: destination.workload,
    traffic_direction: direction(role),
    ...replica('source', source),
    ...replica('destination', destination),
  };
}

/** Which of a workload's pods it is, where the configuration asks for it; named as in Hubble's `labelsContext`. */
function replica(side: 'source' | 'destination', { labels: { pod, address } }: Identity): Attributes {
  return { ...(pod && { [`${side}_pod`]: pod }), ...(address && { [`${side}_ip`]: address }) };
}

/** Hubble's `sourceContext=workload|...`: `namespace/workload`, or the best there is. */
function who({ namespace, workload, service }: Identity): string {
  return `${namespace && `${namespace}/`}${workload || service}`;
}
