/**
 * OpenTelemetry's semantic conventions for HTTP and RPC metrics
 * (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/, .../rpc/rpc-metrics/), with both ends on every
 * point. A gRPC call is an HTTP request, so it is in both.
 * DNS lookups are `dns.lookup.duration` (https://opentelemetry.io/docs/specs/semconv/dns/dns-metrics/) without the name
 * that is asked for, of which there is no end.
 * `http.server.*` is what the destination saw, `http.client.*` what the source saw; the conventions have nothing
 * for time to first byte and for TCP, so those are `meshtap.*` in the same manner.
 *
 * @module
 */

import type { Identity } from '../../identity/identity.js';
import {
  DNS_PATIENCE,
  type DnsCounts,
  type HttpCounts,
  type Role,
  type Rpc,
} from '../../receivers/counts.js';
import type { Attributes, MetricFamily } from '../family.js';
import { codeName, lookupError } from '../lookups.js';
import type { Ends, Snapshot } from '../model.js';
import { errorType } from '../outcome.js';
import {
  extended,
  HistogramPoints,
  type Labels,
  NumberPoints,
  namelessLabels,
  pairLabels,
} from '../points.js';
import type { Dialect } from './dialect.js';

export function otel(): Dialect {
  return {
    name: 'otel',
    families: (snapshot) => [
      ...requests(snapshot, 'server'),
      ...requests(snapshot, 'client'),
      ...connections(snapshot, 'server'),
      ...connections(snapshot, 'client'),
      ...lookups(snapshot),
    ],
  };
}

const nameless = namelessLabels();

function endAttributes({ source, destination, port }: Ends): Attributes {
  return {
    'source.service': source.service,
    'source.namespace': source.namespace,
    'source.workload': source.workload,
    'destination.service': destination.service,
    'destination.namespace': destination.namespace,
    'destination.workload': destination.workload,
    'server.port': port,
    ...replica('source', source),
    ...replica('destination', destination),
  };
}

/** Which of a workload's pods it is, where the configuration asks for it. */
function replica(side: 'source' | 'destination', { labels: { pod, address } }: Identity): Attributes {
  return { ...(pod && { [`${side}.pod`]: pod }), ...(address && { [`${side}.address`]: address }) };
}

function requestLabels(base: Labels, role: Role, counts: HttpCounts): Labels {
  const { method, route, version, scheme, rpc } = counts;
  const error = errorType(role, counts);
  // What came back is known as little as what came of it.
  const status = rpc?.status === 'unknown' ? 'unknown' : counts.status;
  const more: Record<string, string | number> = { 'http.request.method': method };
  if (status !== undefined) more['http.response.status_code'] = status;
  if (error !== undefined) more['error.type'] = error;
  if (route !== undefined) more['http.route'] = route;
  more['network.protocol.version'] = version;
  more['url.scheme'] = scheme;
  return extended(base, more);
}

function callLabels(base: Labels, role: Role, counts: HttpCounts, rpc: Rpc): Labels {
  const error = errorType(role, counts);
  const more: Record<string, string> = {
    'rpc.system.name': 'grpc',
    'rpc.service': rpc.service,
    'rpc.method': rpc.method,
  };
  if (rpc.status !== undefined) more['rpc.response.status_code'] = rpc.status;
  if (error !== undefined) more['error.type'] = error;
  return extended(base, more);
}

function requests(snapshot: Snapshot, role: Role): MetricFamily[] {
  const named = pairLabels(endAttributes);
  const duration = new HistogramPoints();
  const firstByte = new HistogramPoints();
  const calls = new HistogramPoints();
  for (const { ends, counts } of snapshot.requests) {
    if (ends.role !== role) continue;
    const labels = nameless(ends, counts) ?? requestLabels(named(ends), role, counts);
    duration.add(labels, counts.duration);
    if (counts.firstByte.count > 0) firstByte.add(labels, counts.firstByte);
    if (counts.rpc)
      calls.add(nameless(ends, counts) ?? callLabels(named(ends), role, counts, counts.rpc), counts.duration);
  }
  const { startedAt, boundaries } = snapshot;
  return filled([
    {
      type: 'histogram',
      name: `http.${role}.request.duration`,
      description: `Duration of HTTP requests as the ${role} saw them, first byte of the request to last byte of the answer.`,
      unit: 's',
      startedAt,
      boundaries,
      points: duration.list(),
    },
    {
      type: 'histogram',
      name: `meshtap.http.${role}.time_to_first_byte`,
      description: `First byte of an HTTP request to first byte of its answer as the ${role} saw them.`,
      unit: 's',
      startedAt,
      boundaries,
      points: firstByte.list(),
    },
    {
      type: 'histogram',
      name: `rpc.${role}.call.duration`,
      description: `Duration of gRPC calls as the ${role} saw them, first byte of the request to the end of the answer.`,
      unit: 's',
      startedAt,
      boundaries,
      points: calls.list(),
    },
  ]);
}

function connections(snapshot: Snapshot, role: Role): MetricFamily[] {
  const named = pairLabels(endAttributes);
  const connect = new HistogramPoints();
  const rtt = new HistogramPoints();
  const opened = new NumberPoints();
  const tls = new NumberPoints();
  const decoded = new NumberPoints();
  const closed = new NumberPoints();
  const failed = new NumberPoints();
  const retransmits = new NumberPoints();
  const io = new NumberPoints();

  for (const { ends, counts } of snapshot.connections) {
    if (ends.role !== role) continue;
    const none = nameless(ends);
    const plain = none ?? named(ends);
    const having = (more: Attributes) => none ?? extended(plain, more);
    // What never happened has no point: three error types for each pair would treble the series of a healthy mesh.
    const ended = (points: NumberPoints, error: string, count: number): void => {
      if (count > 0) points.add(having({ 'error.type': error }), count);
    };

    if (counts.connect.count > 0) connect.add(plain, counts.connect);
    if (counts.rtt.count > 0) rtt.add(plain, counts.rtt);
    opened.add(plain, counts.opened);
    if (counts.tls > 0) tls.add(plain, counts.tls);
    if (counts.tlsDecoded > 0) decoded.add(plain, counts.tlsDecoded);
    closed.add(plain, counts.closed);
    ended(closed, 'connection_reset', counts.reset);
    ended(closed, 'timeout', counts.timedOut);
    ended(failed, 'refused', counts.refused);
    ended(failed, 'unreachable', counts.unreachable);
    ended(failed, 'cancelled', counts.cancelled);
    retransmits.add(plain, counts.retransmits);
    io.add(having({ 'network.io.direction': 'transmit' }), counts.bytesSent);
    io.add(having({ 'network.io.direction': 'receive' }), counts.bytesReceived);
  }

  const { startedAt, boundaries } = snapshot;
  const counter = (name: string, unit: string, description: string, points: NumberPoints): MetricFamily => ({
    type: 'counter',
    name: `meshtap.tcp.${role}.${name}`,
    description,
    unit,
    startedAt,
    points: points.list(),
  });
  return filled([
    {
      type: 'histogram',
      name: `meshtap.tcp.${role}.connect.duration`,
      description: 'SYN to established.',
      unit: 's',
      startedAt,
      boundaries,
      points: connect.list(),
    },
    {
      type: 'histogram',
      name: `meshtap.tcp.${role}.rtt`,
      description: 'Smoothed round-trip time, sampled at most once a second per connection and at its end.',
      unit: 's',
      startedAt,
      boundaries,
      points: rtt.list(),
    },
    counter('connections.opened', '{connection}', 'TCP connections established.', opened),
    counter(
      'connections.closed',
      '{connection}',
      'TCP connections that ended; error.type says why, if not in order.',
      closed,
    ),
    counter('connections.tls', '{connection}', 'TCP connections that were found to carry TLS.', tls),
    counter(
      'connections.tls.decoded',
      '{connection}',
      'TCP connections that carry TLS, of which the inside is read, as HTTP.',
      decoded,
    ),
    counter('connect.failures', '{connection}', 'TCP connects that failed, by error.type.', failed),
    counter('retransmits', '{segment}', 'TCP segments sent again.', retransmits),
    counter(
      'io',
      'By',
      'TCP payload without retransmissions, as the watched side sends and receives it.',
      io,
    ),
  ]);
}

function lookupLabels(base: Labels, counts: DnsCounts): Labels {
  const { type, code } = counts;
  const error = lookupError(counts);
  return extended(base, {
    'dns.question.type': type,
    ...(code !== undefined && { 'dns.response.code': codeName(code) }),
    ...(error !== undefined && { 'error.type': error }),
  });
}

/** How long queries that got no answer were waited for. */
function waited(count: number, boundaries: readonly number[]) {
  const buckets = new Float64Array(boundaries.length + 1);
  const index = boundaries.findIndex((bound) => DNS_PATIENCE <= bound);
  buckets[index < 0 ? boundaries.length : index] = count;
  return { buckets, count, sum: count * DNS_PATIENCE };
}

function lookups({ startedAt, boundaries, lookups: rows }: Snapshot): MetricFamily[] {
  const named = pairLabels(endAttributes);
  const points = { client: new HistogramPoints(), server: new HistogramPoints() };
  for (const { ends, counts } of rows) {
    const { type, unanswered } = counts;
    const none = nameless(ends, counts);
    const of = points[ends.role];
    if (counts.duration.count > 0) of.add(none ?? lookupLabels(named(ends), counts), counts.duration);
    const error = { 'dns.question.type': type, 'error.type': 'timeout' };
    if (unanswered > 0) of.add(none ?? extended(named(ends), error), waited(unanswered, boundaries));
  }
  const histogram = (name: string, description: string, from: HistogramPoints): MetricFamily => ({
    ...{ type: 'histogram', name, description, unit: 's', startedAt, boundaries, points: from.list() },
  });
  return filled([
    histogram(
      'dns.lookup.duration',
      'DNS lookups as the client saw them, first query to answer. One without an answer counts after 10 s.',
      points.client,
    ),
    histogram('meshtap.dns.server.duration', 'The same as the server of DNS saw them.', points.server),
  ]);
}

function filled(families: MetricFamily[]): MetricFamily[] {
  return families.filter(({ points }) => points.length > 0);
}
