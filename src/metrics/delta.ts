import type { Attributes, HrTime } from '@opentelemetry/api';
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type Histogram,
  type MetricData,
  type MetricProducer,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import { OVERFLOW, RETIRED } from './points.js';

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
  readonly attributes: Attributes;
}

/** Of one metric, by attributes. */
type Marks = Map<string, Mark>;

/**
 * Turns the cumulative points of a producer into differences. One per reader, because each reader's last delivery is
 * its own. Points that did not change are left out; gauges pass as they are.
 */
export function deltaOf(
  source: MetricProducer,
  { since = performance.timeOrigin }: DeltaOptions = {},
): DeltaProducer {
  let marks = new Map<string, Marks>();
  let pending = new WeakMap<object, { mark: Mark; own: Marks; key: string }>();
  let lastEnd: HrTime | undefined;

  /** What of a metric's points was not delivered yet. */
  const differences = <V extends Value>(
    name: string,
    points: readonly DataPoint<V>[],
    next: Map<string, Marks>,
  ) => {
    const before = marks.get(name) ?? new Map<string, Mark>();
    const own: Marks = new Map();
    next.set(name, own);
    for (const point of points) {
      const key = JSON.stringify(point.attributes);
      own.set(key, before.get(key) ?? firstMark(point));
      before.delete(key);
    }
    passOn([...before.values()], own);
    return points.flatMap((point) => {
      const key = JSON.stringify(point.attributes);
      const mark = own.get(key)!;
      const value = mark.value === undefined ? point.value : (minus(point.value, mark.value) as V);
      if (isZero(value)) return [];
      const delta = { ...point, value, startTime: mark.at };
      const { attributes, endTime: at } = point;
      pending.set(delta, { mark: { value: point.value, at, attributes }, own, key });
      return [delta];
    });
  };
  const firstMark = ({ value, startTime, endTime, attributes }: DataPoint<Value>): Mark => {
    if (lastEnd) return { at: lastEnd, attributes };
    return milliseconds(startTime) < since
      ? { value, at: endTime, attributes }
      : { at: startTime, attributes };
  };

  return {
    async collect(options) {
      const { resourceMetrics, errors } = await source.collect(options);
      // A partial collection says nothing about what is not in it.
      if (errors.length > 0) return { resourceMetrics: { ...resourceMetrics, scopeMetrics: [] }, errors };
      pending = new WeakMap();
      const next = new Map<string, Marks>();
      const scopeMetrics = resourceMetrics.scopeMetrics.map(({ scope, metrics }) => ({
        scope,
        metrics: metrics
          .map((metric) => deltaMetric(metric, (name, points) => differences(name, points, next)))
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
            known?.own.set(known.key, known.mark);
          }
    },
  };
}

/**
 * Points that are there no more are folded into one that says so, and is of the same side: what was delivered of them
 * is delivered of that.
 */
function passOn(gone: readonly Mark[], own: Marks): void {
  const retired = [...own].filter(([, { attributes }]) => attributes[RETIRED] === true);
  for (const { value, attributes } of gone) {
    if (value === undefined || attributes[RETIRED] === true) continue;
    const fits = ([name, side]: [string, unknown]) =>
      name === RETIRED || name === OVERFLOW || attributes[name] === side;
    const [key] = retired.find(([, mark]) => Object.entries(mark.attributes).every(fits)) ?? [];
    const mark = key === undefined ? undefined : own.get(key);
    if (mark) own.set(key!, { ...mark, value: mark.value === undefined ? value : plus(mark.value, value) });
  }
}

function plus(a: Value, b: Value): Value {
  if (typeof a === 'number' || typeof b === 'number') return (a as number) + (b as number);
  return {
    buckets: {
      boundaries: a.buckets.boundaries,
      counts: a.buckets.counts.map((n, i) => n + b.buckets.counts[i]!),
    },
    count: a.count + b.count,
    sum: (a.sum ?? 0) + (b.sum ?? 0),
  };
}

function endOf({ scopeMetrics }: ResourceMetrics): HrTime | undefined {
  return scopeMetrics[0]?.metrics.find(({ dataPoints }) => dataPoints.length > 0)?.dataPoints[0]?.endTime;
}

type Difference = <V extends Value>(name: string, points: readonly DataPoint<V>[]) => DataPoint<V>[];

function deltaMetric(metric: MetricData, difference: Difference): MetricData {
  const { name } = metric.descriptor;
  const aggregationTemporality = AggregationTemporality.DELTA;
  switch (metric.dataPointType) {
    case DataPointType.SUM:
      return {
        ...metric,
        aggregationTemporality,
        dataPoints: difference(name, metric.dataPoints),
      };
    case DataPointType.HISTOGRAM:
      return {
        ...metric,
        aggregationTemporality,
        dataPoints: difference(name, metric.dataPoints),
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
