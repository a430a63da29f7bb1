import { expect, it } from 'vitest';
import { istio } from '../../../src/metrics/dialects/istio.js';
import { type Identify, resolve } from '../../../src/metrics/model.js';
import type { Counts } from '../../../src/receivers/counts.js';
import { testDialect } from '../../contract/dialect.js';
import { counts, histogram, http, identifyNamed, identity, named, pair, tcp } from '../../support/counts.js';

// The linter wants seconds; Istio, its dashboards and Kiali say milliseconds.
testDialect(istio(), {
  lint: ['istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"'],
});

/** Grouped by in every query Kiali makes for its graph (kiali/graph/telemetry/istio). */
const KIALI = [
  'reporter',
  'source_cluster',
  'source_workload_namespace',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'destination_cluster',
  'destination_service_namespace',
  'destination_service',
  'destination_service_name',
  'destination_workload_namespace',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'request_protocol',
  'response_flags',
];

function points(sweep: Counts, name: string, identify: Identify = identifyNamed()) {
  const families = istio().families(resolve(sweep, identify));
  return families.find((family) => family.name === name)?.points ?? [];
}

const seen = { duration: histogram([0.0002, 0.07]) };

it('gives Kiali every label it asks for, none of them empty, named ends or not', () => {
  const sweep = counts({
    http: [
      http(pair('server', named('b', 'shop', 'b-v1'), named('a', 'shop', 'a-v1')), seen),
      http(pair('client', { kind: 'cgroup', cgroup: 1n }, { kind: 'world' }), seen),
    ],
  });
  for (const name of ['istio_requests_total', 'istio_request_duration_milliseconds']) {
    for (const { attributes } of points(sweep, name)) {
      for (const label of [...KIALI, 'response_code']) expect(attributes[label], label).toBeTruthy();
    }
  }
});

it('writes what Istio would', () => {
  const ends = pair('server', named('b', 'shop', 'b-v1'), named('a', 'shop', 'a-v1'));
  const identify: Identify = () => ({
    source: identity('a', { namespace: 'shop', workload: 'a-v1', labels: { app: 'a', version: 'v1' } }),
    destination: identity('b', { namespace: 'shop', workload: 'b-v2', labels: { app: 'bb', version: 'v2' } }),
  });
  expect(
    points(counts({ http: [http(ends, seen)] }), 'istio_requests_total', identify)[0]?.attributes,
  ).toEqual({
    reporter: 'destination',
    source_service: 'a',
    source_namespace: 'shop',
    source_workload: 'a-v1',
    source_workload_namespace: 'shop',
    source_principal: 'unknown',
    source_app: 'a',
    source_version: 'v1',
    source_cluster: 'Kubernetes',
    source_canonical_service: 'a',
    source_canonical_revision: 'v1',
    destination_namespace: 'shop',
    destination_workload: 'b-v2',
    destination_workload_namespace: 'shop',
    destination_principal: 'unknown',
    destination_app: 'bb',
    destination_version: 'v2',
    destination_cluster: 'Kubernetes',
    destination_canonical_service: 'bb',
    destination_canonical_revision: 'v2',
    destination_service: 'b.shop.svc.cluster.local',
    destination_service_name: 'b',
    destination_service_namespace: 'shop',
    connection_security_policy: 'none',
    request_protocol: 'http',
    response_flags: '-',
    response_code: '200',
  });
});

it('lets both sides report, with the same names', () => {
  const [a, b] = [named('a', 'shop'), named('b', 'shop')];
  const sweep = counts({ http: [http(pair('client', a, b), seen), http(pair('server', b, a), seen)] });
  const found = points(sweep, 'istio_requests_total').map(({ attributes }) => attributes);
  expect(found.map(({ reporter }) => reporter)).toEqual(['source', 'destination']);
  const common = ({ reporter, connection_security_policy, ...rest }: Record<string, unknown>) => rest;
  expect(common(found[0]!)).toEqual(common(found[1]!));
});

it('says 0 where no answer came', () => {
  const sweep = counts({
    http: [http(pair('client', named('a'), named('b')), { status: undefined, failure: 'timeout', ...seen })],
  });
  expect(points(sweep, 'istio_requests_total')).toMatchObject([
    { value: 2, attributes: { response_code: '0' } },
  ]);
});

it('tells milliseconds, without noise in the boundaries', () => {
  const boundaries = [0.0001, 0.07, 0.29, 1, 60];
  const sweep = counts({
    boundaries,
    http: [http(pair('server', named('b'), named('a')), { duration: histogram([0.05, 0.2], boundaries) })],
  });
  const [family] = istio()
    .families(resolve(sweep, identifyNamed()))
    .filter(({ type }) => type === 'histogram');
  expect(family).toMatchObject({ boundaries: [0.1, 70, 290, 1000, 60000], points: [{ count: 2, sum: 250 }] });
});

it('counts bytes as the server sends and receives them, whoever reports', () => {
  const [a, b] = [named('a'), named('b')];
  const sweep = counts({
    tcp: [
      tcp(pair('client', a, b), { bytesSent: 100, bytesReceived: 900 }),
      tcp(pair('server', b, a), { bytesSent: 900, bytesReceived: 100 }),
    ],
  });
  expect(points(sweep, 'istio_tcp_sent_bytes_total')).toMatchObject([{ value: 900 }, { value: 900 }]);
  expect(points(sweep, 'istio_tcp_received_bytes_total')).toMatchObject([{ value: 100 }, { value: 100 }]);
});
