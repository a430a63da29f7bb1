import { DataPointType, type MetricData, type ResourceMetrics } from '@opentelemetry/sdk-metrics';

/**
 * Splits metrics so that each part stays below so many bytes once encoded, by an estimate that errs on the large side.
 * gRPC receivers refuse messages above 4 MiB, counted before compression. A single point larger than the limit goes
 * alone.
 */
export function batches({ resource, scopeMetrics }: ResourceMetrics, limit: number): ResourceMetrics[] {
  const all: ResourceMetrics[] = [];
  const head = sizeOf(resource.attributes);
  let batch: ResourceMetrics['scopeMetrics'] = [];
  let size = head;
  const flush = () => {
    if (batch.length > 0) all.push({ resource, scopeMetrics: batch });
    batch = [];
    size = head;
  };
  for (const { scope, metrics } of scopeMetrics) {
    for (const metric of metrics) {
      const { name, description, unit } = metric.descriptor;
      const fixed = 64 + bytes(name) + bytes(description) + bytes(unit) + bytes(scope.name);
      let points: MetricData['dataPoints'][number][] = [];
      const take = () => {
        if (points.length === 0) return;
        const part = { ...metric, dataPoints: points } as MetricData;
        points = [];
        const last = batch.at(-1);
        if (last?.scope === scope) last.metrics.push(part);
        else batch.push({ scope, metrics: [part] });
      };
      size += fixed;
      for (const point of metric.dataPoints) {
        const more = pointSize(metric, point);
        if (size + more > limit && (batch.length > 0 || points.length > 0)) {
          take();
          flush();
          size += fixed;
        }
        points.push(point);
        size += more;
      }
      take();
    }
  }
  flush();
  return all;
}

function pointSize(metric: MetricData, { attributes }: MetricData['dataPoints'][number]): number {
  const buckets = metric.dataPointType === DataPointType.HISTOGRAM ? bucketsOf(metric) : 0;
  return 64 + 16 * buckets + sizeOf(attributes);
}

function bucketsOf(metric: MetricData & { dataPointType: DataPointType.HISTOGRAM }): number {
  return metric.dataPoints[0]?.value.buckets.counts.length ?? 0;
}

function sizeOf(attributes: Readonly<Record<string, unknown>>): number {
  let size = 0;
  for (const key in attributes) {
    const value = attributes[key];
    size += 16 + bytes(key) + (typeof value === 'string' ? bytes(value) : 9);
  }
  return size;
}

const bytes = (text: string): number => Buffer.byteLength(text);
