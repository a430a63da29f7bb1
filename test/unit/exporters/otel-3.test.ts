/**
 * The same under OpenTelemetry JS 3.x, which an embedder may have: our sources are given 3.x wherever they import
 * OpenTelemetry. 3.x asks for Node 22.15 or newer; it works on 20 as far as it is used here.
 */

import { expect, it, vi } from 'vitest';
import { otelPrometheus } from '../../../src/exporters/otel-prometheus.js';
import { otlpGrpc } from '../../../src/exporters/otlp-grpc.js';
import { otlpHttp } from '../../../src/exporters/otlp-http.js';
import { PrometheusReader } from '../../../src/exporters/prometheus-reader.js';
import type { MetricFamily } from '../../../src/metrics/family.js';
import { contractFamily } from '../../contract/exporter.js';
import { exporterContext } from '../../support/exporter-context.js';
import { freePort } from '../../support/free-port.js';
import { arrived, grpcReceiver, httpReceiver } from '../../support/otlp-receiver.js';
import { samples, scrape } from '../../support/scrape.js';

const three = await vi.hoisted(async () => {
  const { createRequire } = await import('node:module');
  return createRequire(new URL('../../fixtures/otel-3/package.json', import.meta.url));
});
vi.mock('@opentelemetry/api', () => three('@opentelemetry/api'));
vi.mock('@opentelemetry/resources', () => three('@opentelemetry/resources'));
vi.mock('@opentelemetry/sdk-metrics', () => three('@opentelemetry/sdk-metrics'));
vi.mock('@opentelemetry/exporter-prometheus', () => three('@opentelemetry/exporter-prometheus'));
vi.mock('@opentelemetry/exporter-metrics-otlp-grpc', () =>
  three('@opentelemetry/exporter-metrics-otlp-grpc'),
);
vi.mock('@opentelemetry/exporter-metrics-otlp-proto', () =>
  three('@opentelemetry/exporter-metrics-otlp-proto'),
);

const { MeterProvider } = await import('@opentelemetry/sdk-metrics');
const { PrometheusExporter } = await import('@opentelemetry/exporter-prometheus');

const took: MetricFamily = {
  type: 'histogram',
  name: 'took',
  description: 'x',
  unit: 's',
  startedAt: Date.now(),
  boundaries: [0.1, 1],
  points: [{ attributes: { which: 'it' }, buckets: Float64Array.of(1, 2, 3), count: 6, sum: 12.5 }],
};
const families = () => [contractFamily(new Map([['it', 3]])), took];

const path = (name: string) => three.resolve(name);

it('is 3.x that is tested', async () => {
  expect(MeterProvider).toBe(three('@opentelemetry/sdk-metrics').MeterProvider);
  expect(path('@opentelemetry/sdk-metrics')).toContain('otel-3');
  expect(PrometheusReader.prototype).toBeInstanceOf(three('@opentelemetry/sdk-metrics').MetricReader);
});

it('takes our producer into its own PrometheusExporter', async () => {
  const { producer } = exporterContext(families);
  const port = await freePort();
  const reader = new PrometheusExporter({ port, preventServerStart: true, metricProducers: [producer] });
  await reader.startServer();
  const provider = new MeterProvider({ readers: [reader] });
  const text = (await scrape(`http://127.0.0.1:${port}/metrics`)).body.toString();
  expect(samples(text, 'contract_total', 'which')).toEqual(new Map([['it', 3]]));
  expect(samples(text, 'took_bucket', 'le')).toEqual(
    new Map([
      ['0.1', 1],
      ['1', 3],
      ['+Inf', 6],
    ]),
  );
  await provider.shutdown();
});

it('is served by our reader', async () => {
  const { producer } = exporterContext(families);
  const reader = await PrometheusReader.start({ port: 0, metricProducers: [producer] });
  const provider = new MeterProvider({ readers: [reader] });
  provider.getMeter('own').createCounter('own').add(2);
  const text = (await scrape(reader.address)).body.toString();
  expect(samples(text, 'contract_total', 'which')).toEqual(new Map([['it', 3]]));
  expect(samples(text, 'took_seconds_bucket', 'le')).toEqual(
    new Map([
      ['0.1', 1],
      ['1', 3],
      ['+Inf', 6],
    ]),
  );
  expect(samples(text, 'own_total', 'otel_scope_name')).toEqual(new Map([['own', 2]]));
  await provider.shutdown();
});

it('is what the exporter otel-prometheus may be made of', async () => {
  const port = await freePort();
  await using running = await otelPrometheus({ port }).start(exporterContext(families));
  const text = (await scrape(running.address)).body.toString();
  expect(samples(text, 'took_seconds_sum', 'which')).toEqual(new Map([['it', 12.5]]));
});

it.each([
  ['gRPC', grpcReceiver, otlpGrpc],
  ['HTTP', httpReceiver, otlpHttp],
])('sends over %s, cumulative and delta', async (_, receiver, exporter) => {
  for (const temporality of ['cumulative', 'delta'] as const) {
    await using end = await receiver();
    await using _running = await exporter({ endpoint: end.endpoint, interval: 100, temporality }).start(
      exporterContext(families),
    );
    await vi.waitUntil(() => end.requests.length > 0, { timeout: 10_000 });
    const points = arrived(end.requests.slice(0, 1));
    const found = points.find(({ metric }) => metric === 'took');
    expect(found).toMatchObject({
      temporality: `AGGREGATION_TEMPORALITY_${temporality.toUpperCase()}`,
      point: { count: 6, sum: 12.5, bucket_counts: [1, 2, 3], explicit_bounds: [0.1, 1] },
    });
  }
});
