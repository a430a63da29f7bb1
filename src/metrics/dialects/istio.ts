/**
 * Istio's standard metrics (https://istio.io/latest/docs/reference/config/metrics/), with every label that Kiali
 * asks for, so that Istio's dashboards and Kiali work without a sidecar. Both reporters speak, as in Istio; Kiali
 * and Istio's dashboards choose one.
 *
 * @module
 */

import type { Identity } from '../../identity/identity.js';
import type { HttpCounts, Role } from '../../receivers/counts.js';
import type { Attributes, MetricFamily } from '../family.js';
import type { Ends, Snapshot } from '../model.js';
import { grpcCode } from '../outcome.js';
import { extended, HistogramPoints, NumberPoints, namelessLabels, pairLabels } from '../points.js';
import type { Dialect } from './dialect.js';

export interface IstioOptions {
  /** Name of the cluster, as Kiali knows it. @default 'Kubernetes' */
  cluster?: string;
}

export function istio({ cluster = 'Kubernetes' }: IstioOptions = {}): Dialect {
  return { name: 'istio', families: (snapshot) => families(snapshot, cluster) };
}

function families(snapshot: Snapshot, cluster: string): MetricFamily[] {
  const http = pairLabels((ends) => ({ ...endAttributes(ends, cluster), response_code: '' }));
  const tcp = pairLabels((ends) => ({ ...endAttributes(ends, cluster), request_protocol: 'tcp' }));

  const requests = new NumberPoints();
  const duration = new HistogramPoints();
  for (const { ends, counts } of snapshot.requests) {
    const point = nameless(ends, counts) ?? extended(http(ends), outcome(counts));
    requests.add(point, counts.duration.count + (counts.untimed ?? 0));
    duration.add(point, { ...counts.duration, sum: counts.duration.sum * 1000 });
  }

  const sent = new NumberPoints();
  const received = new NumberPoints();
  const opened = new NumberPoints();
  const closed = new NumberPoints();
  for (const { ends, counts } of snapshot.connections) {
    const point = nameless(ends) ?? tcp(ends);
    // Whoever reports, "sent" is what the server sends and "received" what it receives.
    const [fromServer, toServer] =
      ends.role === 'server'
        ? [counts.bytesSent, counts.bytesReceived]
        : [counts.bytesReceived, counts.bytesSent];
    sent.add(point, fromServer);
    received.add(point, toServer);
    opened.add(point, counts.opened);
    closed.add(point, counts.closed + counts.reset + counts.timedOut);
  }

  const { startedAt } = snapshot;
  const counter = (name: string, unit: string, description: string, points: NumberPoints): MetricFamily => ({
    type: 'counter',
    name,
    prometheusName: name,
    description,
    unit,
    startedAt,
    points: points.list(),
  });
  const all: MetricFamily[] = [
    counter(
      'istio_requests_total',
      '{request}',
      'HTTP requests; response_code 0 where no answer came.',
      requests,
    ),
    {
      type: 'histogram',
      name: 'istio_request_duration_milliseconds',
      prometheusName: 'istio_request_duration_milliseconds',
      description: 'Duration of HTTP requests.',
      unit: 'ms',
      startedAt,
      boundaries: snapshot.boundaries.map(milliseconds),
      points: duration.list(),
    },
    counter('istio_tcp_sent_bytes_total', 'By', 'Bytes that the server sent.', sent),
    counter('istio_tcp_received_bytes_total', 'By', 'Bytes that the server received.', received),
    counter('istio_tcp_connections_opened_total', '{connection}', 'TCP connections established.', opened),
    counter(
      'istio_tcp_connections_closed_total',
      '{connection}',
      'TCP connections that ended, however.',
      closed,
    ),
  ];
  return all.filter(({ points }) => points.length > 0);
}

/** Exact for every boundary that people write: 0.07 s is 70 ms, not 70.00000000000001. */
function milliseconds(seconds: number): number {
  return Number((seconds * 1000).toPrecision(12));
}

function reporter(role: Role): string {
  return role === 'server' ? 'destination' : 'source';
}

/** 0 is Istio's way of saying that no answer came. Of a gRPC status it writes the number. */
function outcome({ status, rpc }: HttpCounts): Attributes {
  const response_code = String(status ?? 0);
  if (!rpc) return { response_code };
  if (rpc.status === 'unknown')
    return { response_code: 'unknown', request_protocol: 'grpc', grpc_response_status: 'unknown' };
  const code = rpc.status === undefined ? '' : (grpcCode(rpc.status) ?? rpc.status);
  return { response_code, request_protocol: 'grpc', grpc_response_status: String(code) };
}

const nameless = namelessLabels((role) => ({ reporter: reporter(role) }));

/** Istio writes `unknown` where others leave a label empty; Kiali skips series that do not. */
function known(value: string | undefined): string {
  return value || 'unknown';
}

function endAttributes({ role, source, destination }: Ends, cluster: string): Attributes {
  const [from, to] = [workload(source, cluster), workload(destination, cluster)];
  return {
    reporter: reporter(role),
    source_service: source.service,
    source_namespace: source.namespace,
    source_workload: from.name,
    source_workload_namespace: from.namespace,
    source_principal: 'unknown',
    source_app: from.app,
    source_version: from.version,
    source_cluster: from.cluster,
    source_canonical_service: from.app,
    source_canonical_revision: from.revision,
    destination_namespace: destination.namespace,
    destination_workload: to.name,
    destination_workload_namespace: to.namespace,
    destination_principal: 'unknown',
    destination_app: to.app,
    destination_version: to.version,
    destination_cluster: to.cluster,
    destination_canonical_service: to.app,
    destination_canonical_revision: to.revision,
    destination_service: fullName(destination),
    destination_service_name: known(destination.service),
    destination_service_namespace: known(destination.namespace),
    // The client's side can not tell, neither here nor in Istio.
    connection_security_policy: role === 'server' ? 'none' : 'unknown',
    request_protocol: 'http',
    response_flags: '-',
  };
}

function workload({ service, namespace, workload, labels }: Identity, cluster: string) {
  return {
    name: known(workload),
    namespace: known(namespace),
    app: known(labels.app ?? service),
    version: known(labels.version),
    revision: labels.version || 'latest',
    // Kiali takes a known cluster and an unknown namespace, but not the other way round.
    cluster: namespace ? cluster : 'unknown',
  };
}

/** `details.production.svc.cluster.local`; without a namespace there is no such name, so the service alone. */
function fullName({ service, namespace }: Identity): string {
  return namespace ? `${known(service)}.${namespace}.svc.cluster.local` : known(service);
}
