import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { metricName, unitWord } from '../../../src/exporters/prometheus-names.js';
import { type Exposition, serialize, type TextFormat } from '../../../src/exporters/text-format.js';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { istio } from '../../../src/metrics/dialects/istio.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import type { MetricFamily } from '../../../src/metrics/family.js';
import { resolve } from '../../../src/metrics/model.js';
import { agentProcess, ledger } from '../../../src/metrics/self.js';
import { counts, histogram, http, identifyNamed, named, pair, tcp } from '../../support/counts.js';
import { checkMetrics } from '../../support/promtool.js';

const written = (exposition: Exposition, format: TextFormat = 'text') =>
  [...serialize(exposition, { format })].join('');

const gauge = (
  name: string,
  points: { attributes: Record<string, string>; value: number }[] = [],
): MetricFamily => ({
  type: 'gauge',
  name,
  description: 'x',
  unit: '',
  points,
});

describe('names follow OpenTelemetry’s rules', () => {
  it.each([
    ['http.server.request.duration', 's', 'histogram', 'http_server_request_duration_seconds'],
    ['meshtap.tcp.client.io', 'By', 'counter', 'meshtap_tcp_client_io_bytes_total'],
    ['meshtap.tcp.client.retransmits', '{segment}', 'counter', 'meshtap_tcp_client_retransmits_total'],
    ['system.cpu.utilization', '1', 'gauge', 'system_cpu_utilization_ratio'],
    ['things.done', '1', 'counter', 'things_done_total'],
    ['hubble_http_request_duration_seconds', 's', 'histogram', 'hubble_http_request_duration_seconds'],
    ['istio_tcp_sent_bytes_total', 'By', 'counter', 'istio_tcp_sent_bytes_total'],
    ['network.speed', 'By/s', 'gauge', 'network_speed_bytes_per_second'],
    ['2xx..rate', '', 'gauge', '_2xx_rate'],
  ] as const)('%s in %s, a %s, is %s', (name, unit, type, expected) => {
    expect(metricName(name, unit, type)).toBe(expected);
  });

  it('knows units by their words', () => {
    expect(['ms', 'By', '{request}', '1', '%', '{packet}/s'].map(unitWord)).toEqual([
      'milliseconds',
      'bytes',
      '',
      '',
      'percent',
      'per_second',
    ]);
  });
});

const everything = (() => {
  const [a, b] = [named('a', 'ns'), named('b')];
  const seen = histogram([0.001, 2]);
  const pairs = [pair('client', a, b), pair('server', b, a)];
  const sweep = counts({
    http: pairs.map((ends) => http(ends, { duration: seen, firstByte: seen })),
    tcp: pairs.map((ends) => tcp(ends, { opened: 2, reset: 1, refused: 1, connect: seen, rtt: seen })),
    ledger: [{ role: 'server', subject: 'requests', outcome: 'seen', count: 2 }],
    budgets: [{ name: 'pairs', used: 2, limit: 10 }],
  });
  const snapshot = resolve(sweep, identifyNamed());
  return [otel(), hubble(), istio()]
    .flatMap((dialect) => dialect.families(snapshot))
    .concat(ledger(sweep), agentProcess());
})();

it('passes promtool with all dialects at once, but for the one name that Istio prescribes', async () => {
  const resource = { 'service.name': 'meshtap', 'host.name': 'here' };
  expect(await checkMetrics(written({ families: everything, resource }))).toEqual({
    code: 3,
    problems: ['istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"'],
  });
  const without = everything.filter(({ name }) => name !== 'istio_request_duration_milliseconds');
  expect(await checkMetrics(written({ families: without, resource }))).toEqual({ code: 0, problems: [] });
});

it('writes text 0.0.4', () => {
  const [duration] = otel().families(
    resolve(
      counts({
        boundaries: [0.001, 1],
        http: [http(pair('server', named('b'), named('a')), { duration: histogram([0.5, 7], [0.001, 1]) })],
      }),
      identifyNamed(),
    ),
  );
  const labels =
    'source_service="a",source_namespace="",source_workload="",destination_service="b",destination_namespace="",' +
    'destination_workload="",server_port="80",http_request_method="GET",http_response_status_code="200",' +
    'network_protocol_version="1.1",url_scheme="http"';
  const lines = [
    `_bucket{${labels},le="0.001"} 0`,
    `_bucket{${labels},le="1"} 1`,
    `_bucket{${labels},le="+Inf"} 2`,
    `_sum{${labels}} 7.5`,
    `_count{${labels}} 2`,
  ];
  expect(written({ families: [duration!], resource: { 'service.name': 'meshtap' } })).toBe(
    [
      '# HELP target_info Target metadata',
      '# TYPE target_info gauge',
      'target_info{service_name="meshtap"} 1',
      '# HELP http_server_request_duration_seconds Duration of HTTP requests as the server saw them, first byte of the request to last byte of the answer.',
      '# TYPE http_server_request_duration_seconds histogram',
      ...lines.map((line) => `http_server_request_duration_seconds${line}`),
      '',
    ].join('\n'),
  );
});

it('writes OpenMetrics 1.0', () => {
  const families: MetricFamily[] = [
    { type: 'counter', name: 'io', description: 'a "b"', unit: 'By', points: [{ attributes: {}, value: 3 }] },
    {
      type: 'histogram',
      name: 'took',
      description: '',
      unit: 's',
      boundaries: [1],
      points: [{ attributes: { a: 'b' }, buckets: [2, 1], count: 3, sum: 9.5 }],
    },
  ];
  expect(written({ families, resource: {} }, 'openmetrics')).toBe(
    [
      '# TYPE target info',
      '# HELP target Target metadata',
      'target_info 1',
      '# TYPE io_bytes counter',
      '# UNIT io_bytes bytes',
      '# HELP io_bytes a \\"b\\"',
      'io_bytes_total 3',
      '# TYPE took_seconds histogram',
      '# UNIT took_seconds seconds',
      '# HELP took_seconds ',
      'took_seconds_bucket{a="b",le="1.0"} 2',
      'took_seconds_bucket{a="b",le="+Inf"} 3',
      'took_seconds_sum{a="b"} 9.5',
      'took_seconds_count{a="b"} 3',
      '# EOF',
      '',
    ].join('\n'),
  );
});

it('writes families of one name together and leaves out what contradicts them', () => {
  const conflicts: string[] = [];
  const families: MetricFamily[] = [
    gauge('n', [{ attributes: { from: 'one' }, value: 1 }]),
    gauge('other', [{ attributes: {}, value: 2 }]),
    gauge('n', [{ attributes: { from: 'two' }, value: 3 }]),
    { ...gauge('n'), type: 'histogram', boundaries: [], points: [] },
  ];
  const text = [
    ...serialize({ families, resource: {} }, { format: 'text', onConflict: (name) => conflicts.push(name) }),
  ].join('');
  expect(text.split('\n').slice(3)).toEqual([
    '# HELP n x',
    '# TYPE n gauge',
    'n{from="one"} 1',
    'n{from="two"} 3',
    '# HELP other x',
    '# TYPE other gauge',
    'other 2',
    '',
  ]);
  expect(conflicts).toEqual(['n']);
});

it('joins the values of attributes whose keys become one label', () => {
  const families = [gauge('n', [{ attributes: { 'a.b': '2', a_b: '1', '9': 'x' }, value: 1 }])];
  expect(written({ families, resource: {} })).toContain('n{key_9="x",a_b="2;1"} 1\n');
});

it('comes in pieces that are quick to write', () => {
  const points = Array.from({ length: 20_000 }, (_, i) => ({
    attributes: { i: String(i), text: 'x'.repeat(100) },
    value: i,
  }));
  const pieces = [...serialize({ families: [gauge('n', points)], resource: {} }, { format: 'text' })];
  expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(40_000);
  expect(pieces.length).toBeGreaterThan(50);
});

it('is accepted by promtool whatever the attributes are', async () => {
  const families = fc.array(
    fc.record({
      name: fc.stringMatching(/^[a-z][a-z0-9._]{0,20}x$/),
      points: fc.array(
        fc.record({
          attributes: fc.dictionary(
            fc.string({ unit: 'binary', minLength: 1 }),
            fc.string({ unit: 'binary' }),
            {
              maxKeys: 5,
            },
          ),
          value: fc.double(),
        }),
        { maxLength: 5 },
      ),
    }),
    { maxLength: 5 },
  );
  await fc.assert(
    fc.asyncProperty(
      families,
      fc.dictionary(fc.string(), fc.string(), { maxKeys: 4 }),
      async (list, resource) => {
        const text = written({
          families: list.map(({ name, points }) => gauge(`meshtap.${name}`, points)),
          resource,
        });
        const { code, problems } = await checkMetrics(text);
        expect({ code, problems }).not.toMatchObject({ code: 1 });
      },
    ),
    { numRuns: 30 },
  );
});
