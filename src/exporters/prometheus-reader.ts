import {
  DataPointType,
  type MetricData,
  type MetricProducer,
  MetricReader,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import { MeshtapError } from '../errors.js';
import type { Attributes, MetricFamily } from '../metrics/family.js';
import { type MetricsServer, startMetricsServer } from './metrics-server.js';
import type { PrometheusOptions } from './prometheus.js';
import type { Exposition, LabelledFamily } from './text-format.js';
import { loadWebConfig } from './web-config.js';

export interface PrometheusReaderOptions extends PrometheusOptions {
  /** Sources besides the meters of the provider, such as meshtap's. @default [] */
  metricProducers?: MetricProducer[];
  /** Whether points tell which instrumentation they come from, as `otel_scope_*` labels. @default true */
  scopeLabels?: boolean;
  /** Told about errors no client can be told. @default nobody */
  onError?: (error: unknown) => void;
}

/**
 * meshtap's endpoint for any OpenTelemetry SDK: streams like {@link prometheus}, for all metrics of a MeterProvider.
 * Exponential histograms have no place in the text formats and are left out.
 *
 * @example
 * const reader = await PrometheusReader.start({ metricProducers: [agent.producer] });
 * new MeterProvider({ readers: [reader] });
 */
export class PrometheusReader extends MetricReader {
  readonly #server: MetricsServer;

  private constructor(server: MetricsServer, metricProducers: MetricProducer[]) {
    super({ metricProducers });
    this.#server = server;
  }

  /** Listens. Rejects with PORT_IN_USE, EXPORT_FAILED or CONFIG_INVALID. Scrapes get 500 until a provider has it. */
  static async start({
    host = '127.0.0.1',
    port = 9464,
    webConfigFile,
    metricProducers = [],
    scopeLabels = true,
    onError = () => {},
  }: PrometheusReaderOptions = {}): Promise<PrometheusReader> {
    let reader: PrometheusReader | undefined;
    const server = await startMetricsServer({
      host,
      port,
      ...(webConfigFile !== undefined && { web: loadWebConfig(webConfigFile) }),
      collect: async () => {
        if (!reader) throw new MeshtapError('EXPORT_FAILED', 'the reader is not started yet');
        return reader.#exposition(scopeLabels);
      },
      ready: () => true,
      onError,
    });
    reader = new PrometheusReader(server, metricProducers);
    return reader;
  }

  /** `http://127.0.0.1:9464/metrics` */
  get address(): string {
    return this.#server.address;
  }

  protected override async onForceFlush(): Promise<void> {}

  protected override onShutdown(): Promise<void> {
    return Promise.resolve(this.#server[Symbol.asyncDispose]());
  }

  async #exposition(scopeLabels: boolean): Promise<Exposition> {
    const { resourceMetrics, errors } = await this.collect();
    // A page without what failed would read as counters that are gone.
    if (errors.length > 0) throw errors[0];
    return expositionOf(resourceMetrics, scopeLabels);
  }
}

function expositionOf({ resource, scopeMetrics }: ResourceMetrics, scopeLabels: boolean): Exposition {
  const families = scopeMetrics.flatMap(({ scope, metrics }) => {
    const labels: Attributes = scopeLabels
      ? { 'otel.scope.name': scope.name, ...(scope.version && { 'otel.scope.version': scope.version }) }
      : {};
    return metrics.flatMap((metric): LabelledFamily[] => {
      const family = familyOf(metric);
      return family ? [{ ...family, labels }] : [];
    });
  });
  return { families, resource: plain(resource.attributes) };
}

function familyOf(metric: MetricData): MetricFamily | undefined {
  const { name, description, unit } = metric.descriptor;
  switch (metric.dataPointType) {
    case DataPointType.HISTOGRAM: {
      const { boundaries } = metric.dataPoints[0]?.value.buckets ?? { boundaries: [] };
      const points = metric.dataPoints.map(({ attributes, value: { buckets, count, sum } }) => ({
        attributes: plain(attributes),
        buckets: buckets.counts,
        count,
        sum: sum ?? Number.NaN,
      }));
      return { type: 'histogram', name, description, unit, boundaries, points };
    }
    case DataPointType.SUM:
    case DataPointType.GAUGE: {
      const monotonic = metric.dataPointType === DataPointType.SUM && metric.isMonotonic;
      const points = metric.dataPoints.map(({ attributes, value }) => ({
        attributes: plain(attributes),
        value,
      }));
      return { type: monotonic ? 'counter' : 'gauge', name, description, unit, points };
    }
    default:
      return undefined;
  }
}

/** Lists become JSON, as in OpenTelemetry's own exporter. */
function plain(attributes: Readonly<Record<string, unknown>>): Attributes {
  if (Object.values(attributes).every((value) => typeof value !== 'object')) return attributes as Attributes;
  return Object.fromEntries(
    Object.entries(attributes).map(([key, value]) => [
      key,
      typeof value === 'object' ? JSON.stringify(value) : (value as string),
    ]),
  );
}
