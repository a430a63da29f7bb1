import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { expect, it } from 'vitest';
import { PrometheusReader } from '../../../src/exporters/prometheus-reader.js';
import { contractFamily } from '../../contract/exporter.js';
import { exporterContext } from '../../support/exporter-context.js';
import { checkMetrics } from '../../support/promtool.js';
import { scrape } from '../../support/scrape.js';

it('shows an embedder’s own metrics and meshtap’s, each with its scope', async () => {
  const { producer } = exporterContext(() => [contractFamily(new Map([['it', 3]]))]);
  const reader = await PrometheusReader.start({ port: 0, metricProducers: [producer] });
  const resource = resourceFromAttributes({ 'service.name': 'shop', list: ['a', 'b'] });
  const provider = new MeterProvider({ readers: [reader], resource });
  const meter = provider.getMeter('shop', '1.2.3');
  meter.createCounter('orders', { unit: '{order}', description: 'Orders.' }).add(2, { kind: ['x'] });
  meter.createUpDownCounter('open').add(-1);
  meter.createHistogram('took', { unit: 's', advice: { explicitBucketBoundaries: [1, 2] } }).record(1.5);
  const { status, body } = await scrape(reader.address);
  const text = body.toString();
  expect(status).toBe(200);
  for (const line of [
    'target_info{service_name="shop",list="[\\"a\\",\\"b\\"]"} 1',
    '# TYPE orders_total counter',
    'orders_total{kind="[\\"x\\"]",otel_scope_name="shop",otel_scope_version="1.2.3"} 2',
    '# TYPE open gauge',
    'open{otel_scope_name="shop",otel_scope_version="1.2.3"} -1',
    'took_seconds_bucket{otel_scope_name="shop",otel_scope_version="1.2.3",le="2"} 1',
    'took_seconds_sum{otel_scope_name="shop",otel_scope_version="1.2.3"} 1.5',
  ])
    expect(text).toContain(`${line}\n`);
  expect(text).toMatch(
    /^contract_total\{which="it",otel_scope_name="meshtap",otel_scope_version="[^"]+"\} 3$/m,
  );
  expect((await checkMetrics(text)).code).not.toBe(1);
  await provider.shutdown();
  await expect(scrape(reader.address)).rejects.toThrow();
});

it('answers 500 until a provider has it, and if meshtap can not collect', async () => {
  const { producer } = exporterContext(() => {
    throw new Error('no counts');
  });
  const reader = await PrometheusReader.start({ port: 0, metricProducers: [producer], scopeLabels: false });
  expect((await scrape(reader.address)).status).toBe(500);
  const provider = new MeterProvider({ readers: [reader] });
  const { status, body } = await scrape(reader.address);
  expect([status, body.toString()]).toEqual([500, 'collection failed: no counts\n']);
  await provider.shutdown();
});
