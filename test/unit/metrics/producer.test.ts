import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { DataPointType, MeterProvider } from '@opentelemetry/sdk-metrics';
import { expect, it } from 'vitest';
import { createProducer } from '../../../src/metrics/producer.js';
import { contractFamily } from '../../contract/exporter.js';
import { freePort } from '../../support/free-port.js';
import { samples, scrape } from '../../support/scrape.js';

it('never rejects: what went wrong is in the result', async () => {
  const failure = new Error('no counts');
  const producer = createProducer({ collect: () => Promise.reject(failure) });
  expect(await producer.collect()).toMatchObject({
    resourceMetrics: { scopeMetrics: [] },
    errors: [failure],
  });
});

it('says when counting began, to the millisecond', async () => {
  const family = { ...contractFamily(new Map([['it', 1]])), startedAt: 1_700_000_000_123 };
  const { resourceMetrics } = await createProducer({ collect: async () => [family] }).collect();
  expect(resourceMetrics.scopeMetrics[0]?.metrics[0]).toMatchObject({
    dataPointType: DataPointType.SUM,
    isMonotonic: true,
    dataPoints: [{ startTime: [1_700_000_000, 123_000_000], attributes: { which: 'it' }, value: 1 }],
  });
});

it('serves any number of stock readers, each with everything', async () => {
  const producer = createProducer({ collect: async () => [contractFamily(new Map([['it', 3]]))] });
  const ports = [await freePort(), await freePort()];
  const readers = ports.map(
    (port) =>
      new PrometheusExporter({
        port,
        host: '127.0.0.1',
        preventServerStart: true,
        metricProducers: [producer],
      }),
  );
  for (const reader of readers) await reader.startServer();
  const provider = new MeterProvider({ readers });
  for (const port of ports) {
    const text = (await scrape(`http://127.0.0.1:${port}/metrics`)).body.toString();
    expect(samples(text, 'contract_total', 'which')).toEqual(new Map([['it', 3]]));
  }
  await provider.shutdown();
});
