import type { ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { expect, it } from 'vitest';
import { deltaOf } from '../../../src/metrics/delta.js';
import type { MetricFamily } from '../../../src/metrics/family.js';
import { createProducer } from '../../../src/metrics/producer.js';

const retired = (reporter: string) => ({
  'otel.metric.overflow': true,
  'meshtap.retired': true,
  reporter,
});

/** Deltas of a counter and a histogram that count the same; values by attributes, as JSON. */
function exporter() {
  let points: { attributes: Record<string, string | boolean>; value: number }[] = [];
  const startedAt = Date.now();
  const families = (): MetricFamily[] => [
    { type: 'counter', name: 'n', description: '', unit: '1', startedAt, points },
    {
      type: 'histogram',
      ...{ name: 'h', description: '', unit: 's', startedAt, boundaries: [1] },
      points: points.map(({ attributes, value }) => ({
        attributes,
        ...{ buckets: [value, 0], count: value, sum: value / 4 },
      })),
    },
  ];
  const delta = deltaOf(createProducer({ collect: async () => families() }), { since: 0 });
  const sums = new Map<string, number>();
  const take = ({ scopeMetrics }: ResourceMetrics) => {
    for (const { metrics } of scopeMetrics)
      for (const { descriptor, dataPoints } of metrics)
        for (const { attributes, value } of dataPoints) {
          const n = typeof value === 'number' ? value : (value as { count: number }).count;
          const key = `${descriptor.name} ${JSON.stringify(attributes)}`;
          sums.set(key, (sums.get(key) ?? 0) + n);
        }
  };
  return {
    /** What came to a receiver that adds up, after an export of these that arrived, or did not. */
    async export(now: typeof points, { arrives = true } = {}) {
      points = now;
      const { resourceMetrics } = await delta.collect();
      if (arrives) {
        take(resourceMetrics);
        delta.delivered(resourceMetrics);
      }
      return sums;
    },
  };
}

const of = (service: string, reporter: string, value: number) => ({
  attributes: { service, reporter },
  value,
});

it('counts nothing twice when names are folded, and loses nothing that was not delivered', async () => {
  const { export: send } = exporter();
  await send([of('a', 'source', 10), of('a', 'destination', 7), of('b', 'source', 5)]);
  await send([of('a', 'source', 13), of('a', 'destination', 7), of('b', 'source', 6)], { arrives: false });
  const folded = [
    { attributes: retired('source'), value: 13 },
    { attributes: retired('destination'), value: 7 },
    of('b', 'source', 6),
  ];
  const sums = await send(folded);
  for (const name of ['n', 'h']) {
    expect(sums.get(`${name} ${JSON.stringify({ service: 'a', reporter: 'source' })}`)).toBe(10);
    expect(sums.get(`${name} ${JSON.stringify(retired('source'))}`)).toBe(3);
    expect(sums.get(`${name} ${JSON.stringify(retired('destination'))}`)).toBeUndefined();
    expect(sums.get(`${name} ${JSON.stringify({ service: 'b', reporter: 'source' })}`)).toBe(6);
  }
  // A name that comes back begins at 0, as what it counts does.
  await send([...folded, of('a', 'source', 2)]);
  // And again, into the point that is there already.
  const last = await send([
    { attributes: retired('source'), value: 15 },
    { attributes: retired('destination'), value: 7 },
    of('b', 'source', 6),
  ]);
  const total = (name: string) =>
    [...last].filter(([key]) => key.startsWith(name)).reduce((sum, [, value]) => sum + value, 0);
  expect(total('n')).toBe(15 + 7 + 6);
  expect(total('h')).toBe(15 + 7 + 6);
});
