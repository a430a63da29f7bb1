import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  DataPointType,
  MeterProvider,
  type MetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import { MeshtapError } from '../errors.js';
import { bounded } from './bounded.js';
import type { Exporter } from './exporter.js';
import { metricName } from './prometheus-names.js';

export interface OtelPrometheusOptions {
  /** @default '127.0.0.1' */
  host?: string;
  /** @default 9464 */
  port?: number;
}

/** Milliseconds the stock exporter gets to end the answers it is giving. */
const STOP = 3_000;

/**
 * The stock PrometheusExporter of OpenTelemetry, for those who need exactly its format. It holds up the process while
 * it answers (a second at 100,000 samples) and answers 200 whatever happened; `prometheus` does neither.
 *
 * `start` rejects with PORT_IN_USE or EXPORT_FAILED.
 */
export function otelPrometheus({ host = '127.0.0.1', port = 9464 }: OtelPrometheusOptions = {}): Exporter {
  return {
    name: 'otel-prometheus',
    async start({ producer, resource }) {
      const reader = new PrometheusExporter({
        host,
        port,
        preventServerStart: true,
        metricProducers: [withPrometheusNames(producer)],
      });
      const provider = new MeterProvider({ resource: resourceFromAttributes(resource), readers: [reader] });
      try {
        await reader.startServer();
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE')
          throw new MeshtapError('EXPORT_FAILED', `can not listen on ${host}:${port}`, { cause });
        throw new MeshtapError('PORT_IN_USE', `${host}:${port} is in use`, {
          cause,
          hint: 'Stop what listens there or choose another port',
        });
      }
      let stopped: Promise<void> | undefined;
      return {
        address: `http://${host.includes(':') ? `[${host}]` : host}:${port}/metrics`,
        [Symbol.asyncDispose]: () => (stopped ??= bounded(provider.shutdown(), STOP)),
      };
    },
  };
}

/** The stock exporter leaves units out of names; with these, the same queries work on both endpoints. */
export function withPrometheusNames(producer: MetricProducer): MetricProducer {
  return {
    async collect(options) {
      const { resourceMetrics, errors } = await producer.collect(options);
      const scopeMetrics = resourceMetrics.scopeMetrics.map(({ scope, metrics }) => ({
        scope,
        metrics: metrics.map((metric) => {
          const { descriptor } = metric;
          const name = metricName(descriptor.name, descriptor.unit, typeOf(metric));
          return { ...metric, descriptor: { ...descriptor, name } };
        }),
      }));
      return { resourceMetrics: { ...resourceMetrics, scopeMetrics }, errors };
    },
  };
}

function typeOf(metric: MetricData): 'counter' | 'gauge' | 'histogram' {
  if (metric.dataPointType === DataPointType.HISTOGRAM) return 'histogram';
  return metric.dataPointType === DataPointType.SUM && metric.isMonotonic ? 'counter' : 'gauge';
}
