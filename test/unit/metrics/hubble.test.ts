import { describe, expect, it } from 'vitest';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { resolve } from '../../../src/metrics/model.js';
import type { Counts } from '../../../src/receivers/counts.js';
import { testDialect } from '../../contract/dialect.js';
import { counts, histogram, http, identifyNamed, named, pair, tcp } from '../../support/counts.js';

testDialect(hubble());

const a = named('a', 'shop', 'a-v1');
const b = named('b');
const bothSides = [pair('client', a, b), pair('server', b, a)];

function points(sweep: Counts, name: string, watched: string[] = []) {
  const families = hubble().families(resolve(sweep, identifyNamed(watched)));
  return families.find((family) => family.name === name)?.points ?? [];
}

const answered = (n: number) => ({ duration: histogram(Array.from({ length: n }, () => 0.02)) });

describe('each request is reported once', () => {
  const sweep = counts({ http: bothSides.map((ends) => http(ends, answered(5))) });
  const reporters = (watched: string[]) =>
    points(sweep, 'hubble_http_requests_total', watched).map((point) => [
      point.attributes.reporter,
      point.attributes.traffic_direction,
      'value' in point && point.value,
    ]);

  it('by the server where both ends are watched', () => {
    expect(reporters(['a', 'b'])).toEqual([['server', 'ingress', 5]]);
  });

  it('by the client where nobody watches the server', () => {
    const seen = counts({ http: [http(bothSides[0]!, answered(5))] });
    expect(points(seen, 'hubble_http_requests_total', ['a'])).toMatchObject([
      { value: 5, attributes: { reporter: 'client', traffic_direction: 'egress' } },
    ]);
  });

  it('and not at all by a client whose server another meshtap watches', () => {
    const seen = counts({ http: [http(bothSides[0]!, answered(5))] });
    expect(points(seen, 'hubble_http_requests_total', ['b'])).toEqual([]);
  });
});

it('forwards what got no answer, but makes up no response', () => {
  const ends = bothSides[1]!;
  const sweep = counts({
    http: [
      http(ends, { status: 503, ...answered(2) }),
      http(ends, { status: undefined, failure: 'reset', ...answered(3) }),
    ],
  });
  expect(points(sweep, 'hubble_flows_processed_total')).toMatchObject([
    { value: 5, attributes: { verdict: 'FORWARDED', l7_protocol: 'http', type: 'L7' } },
  ]);
  expect(points(sweep, 'hubble_http_responses_total')).toMatchObject([
    { value: 2, attributes: { status: '503', status_code: '503', method: 'GET', protocol: 'HTTP/1.1' } },
  ]);
  expect(points(sweep, 'hubble_http_requests_total')).toMatchObject([
    { value: 2, attributes: { status: '503' } },
    { value: 3, attributes: { status: '' } },
  ]);
  expect(points(sweep, 'hubble_tcp_latency_seconds')).toMatchObject([{ count: 2 }]);
});

it('counts connections as flows of another kind', () => {
  const sweep = counts({ tcp: [tcp(bothSides[1]!, { opened: 7 })] });
  expect(points(sweep, 'hubble_flows_processed_total')).toMatchObject([
    { value: 7, attributes: { type: 'L3_L4', protocol: 'TCP', l7_protocol: '', verdict: 'FORWARDED' } },
  ]);
});

it('writes the context labels of Hubble', () => {
  const sweep = counts({ http: [http(bothSides[1]!, answered(1))] });
  expect(points(sweep, 'hubble_tcp_latency_seconds')[0]?.attributes).toEqual({
    source: 'shop/a-v1',
    source_service: 'a',
    source_namespace: 'shop',
    source_workload: 'a-v1',
    destination: 'b',
    destination_service: 'b',
    destination_namespace: '',
    destination_workload: '',
    traffic_direction: 'ingress',
  });
});
