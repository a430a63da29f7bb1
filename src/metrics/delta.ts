import type { HrTime } from '@opentelemetry/api';
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type Histogram,
  type MetricData,
  type MetricProducer,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';

/** A producer of differences, and a way to say that they arrived. */
export interface DeltaProducer extends MetricProducer {
  /**
   * These points (of the last collection, all or some) were received: the next differences begin there. What is never
   * delivered is part of the next difference, so a receiver that is away for a while misses nothing.
   */
  delivered(metrics: ResourceMetrics): void;
}

export interface DeltaOptions {
  /**
   * What was counted before this moment (milliseconds since the epoch) is another process's to deliver: where counting
   * began earlier, the first collection only notes where it stands. @default the start of this process
   */
  since?: number;
}

type Value = number | Histogram;

/** Where the next difference of a point begins. */
interface Mark {
  /** Absent: at zero. */
  readonly value?: Value;
  readonly at: HrTime;
}

/**
 * Turns the cumulative points of a producer into differences. One per reader, because each reader's last delivery is
 * its own. Points that did not change are left out; gauges pass as they are.
 */
export function deltaOf(
  source: MetricProducer,
  { since = performance.timeOrigin }: DeltaOptions = {},
): DeltaProducer {
  let marks = new Map<string, Mark>();
  let pending = new WeakMap<object, { key: string; mark: Mark }>();
  let lastEnd: HrTime | undefined;

  /** What of a point was not delivered yet. Notes in `next` where it began. */
  const difference = <V extends Value>(
    name: string,
    point: DataPoint<V>,
    next: Map<string, Mark>,
  ): DataPoint<V>[] => {
    const key = `${name} ${JSON.stringify(point.attributes)}`;
    const now = { value: point.value, at: point.endTime };
    const mark = marks.get(key) ?? firstMark(point, now);
    next.set(key, mark);
    const value = mark.value === undefined ? point.value : (minus(point.value, mark.value) as V);
    if (isZero(value)) return [];
    const delta = { ...point, value, startTime: mark.at };
    pending.set(delta, { key, mark: now });
    return [delta];
  };
  const firstMark = (point: DataPoint<Value>, now: Mark): Mark => {
    if (lastEnd) return { at: lastEnd };
    return milliseconds(point.startTime) < since ? now : { at: point.startTime };
  };

  return {
    async collect(options) {
      const { resourceMetrics, errors } = await source.collect(options);
      // A partial collection says nothing about what is not in it.
      if (errors.length > 0) return { resourceMetrics: { ...resourceMetrics, scopeMetrics: [] }, errors };
      pending = new WeakMap();
      const next = new Map<string, Mark>();
      const scopeMetrics = resourceMetrics.scopeMetrics.map(({ scope, metrics }) => ({
        scope,
        metrics: metrics
          .map((metric) => deltaMetric(metric, (name, point) => difference(name, point, next)))
          .filter(({ dataPoints }) => dataPoints.length > 0),
      }));
      marks = next;
      lastEnd = endOf(resourceMetrics) ?? lastEnd;
      return {
        resourceMetrics: {
          ...resourceMetrics,
          scopeMetrics: scopeMetrics.filter(({ metrics }) => metrics.length > 0),
        },
        errors,
      };
    },
    delivered({ scopeMetrics }) {
      for (const { metrics } of scopeMetrics)
        for (const { dataPoints } of metrics)
          for (const point of dataPoints) {
            const known = pending.get(point);
            if (known) marks.set(known.key, known.mark);
          }
    },
  };
}

function endOf({ scopeMetrics }: ResourceMetrics): HrTime | undefined {
  return scopeMetrics[0]?.metrics.find(({ dataPoints }) => dataPoints.length > 0)?.dataPoints[0]?.endTime;
}

type Difference = <V extends Value>(name: string, point: DataPoint<V>) => DataPoint<V>[];

function deltaMetric(metric: MetricData, difference: Difference): MetricData {
  const { name } = metric.descriptor;
  const aggregationTemporality = AggregationTemporality.DELTA;
  switch (metric.dataPointType) {
    case DataPointType.SUM:
      return {
        ...metric,
        aggregationTemporality,
        dataPoints: metric.dataPoints.flatMap((point) => difference(name, point)),
      };
    case DataPointType.HISTOGRAM:
      return {
        ...metric,
        aggregationTemporality,
        dataPoints: metric.dataPoints.flatMap((point) => difference(name, point)),
      };
    default:
      return metric;
  }
}

function minus(now: Value, before: Value): Value {
  if (typeof now === 'number' || typeof before === 'number') {
    const difference = (now as number) - (before as number);
    return difference < 0 ? now : difference;
  }
  const count = now.count - before.count;
  if (count < 0) return now;
  return {
    buckets: {
      boundaries: now.buckets.boundaries,
      counts: now.buckets.counts.map((n, i) => n - before.buckets.counts[i]!),
    },
    count,
    sum: Math.max(0, (now.sum ?? 0) - (before.sum ?? 0)),
  };
}

function isZero(value: Value): boolean {
  return (typeof value === 'number' ? value : value.count) === 0;
}

function milliseconds([seconds, nanoseconds]: HrTime): number {
  return seconds * 1000 + nanoseconds / 1e6;
}
