/**
 * meshtap as a source of metrics for any reader of OpenTelemetry's SDK, 2.x or 3.x.
 *
 * @module
 */

import { type HrTime, ValueType } from '@opentelemetry/api';
import { emptyResource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type MetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import type { HistogramFamily, MetricFamily, NumberFamily } from './family.js';
import { VERSION } from './version.js';

export interface ProducerOptions {
  /** All families, from a fresh sweep; each name once. */
  collect(): Promise<readonly MetricFamily[]>;
}

/**
 * Cumulative points since counting began. Never rejects: a reader that is not prepared for it would answer a scrape
 * with an empty page. What went wrong is in `errors`.
 */
export function createProducer({ collect }: ProducerOptions): MetricProducer {
  return {
    async collect() {
      const metrics: MetricData[] = [];
      const errors: unknown[] = [];
      try {
        const families = await collect();
        const now = hrTime(Date.now());
        for (const family of families) metrics.push(metricData(family, now));
      } catch (error) {
        errors.push(error);
      }
      const scopeMetrics =
        metrics.length > 0 ? [{ scope: { name: 'meshtap', version: VERSION }, metrics }] : [];
      return { resourceMetrics: { resource: emptyResource(), scopeMetrics }, errors };
    },
  };
}

function metricData(family: MetricFamily, endTime: HrTime): MetricData {
  const { name, description, unit } = family;
  const startTime = family.startedAt === undefined ? endTime : hrTime(family.startedAt);
  const base = {
    // Doubles hold every count to 2^53; the protobuf exporters write them as they are.
    descriptor: { name, description, unit, valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  switch (family.type) {
    case 'histogram':
      return {
        ...base,
        dataPointType: DataPointType.HISTOGRAM,
        dataPoints: histograms(family, startTime, endTime),
      };
    case 'counter':
      return {
        ...base,
        dataPointType: DataPointType.SUM,
        isMonotonic: true,
        dataPoints: numbers(family, startTime, endTime),
      };
    case 'gauge':
      return { ...base, dataPointType: DataPointType.GAUGE, dataPoints: numbers(family, startTime, endTime) };
  }
}

function numbers({ points }: NumberFamily, startTime: HrTime, endTime: HrTime): DataPoint<number>[] {
  return points.map(({ attributes, value }) => ({ startTime, endTime, attributes, value }));
}

function histograms({ boundaries, points }: HistogramFamily, startTime: HrTime, endTime: HrTime) {
  const bounds = [...boundaries];
  return points.map(({ attributes, buckets, sum, count }) => ({
    startTime,
    endTime,
    attributes,
    // An array, because JSON has no other.
    value: { buckets: { boundaries: bounds, counts: Array.from(buckets) }, sum, count },
  }));
}

function hrTime(milliseconds: number): HrTime {
  return [Math.floor(milliseconds / 1000), Math.round(milliseconds % 1000) * 1_000_000];
}
