import { exporterDurations } from '../metrics/durations.js';
import type { Exporter } from './exporter.js';
import { startMetricsServer } from './metrics-server.js';
import { loadWebConfig } from './web-config.js';

export interface PrometheusOptions {
  /** @default '127.0.0.1' */
  host?: string;
  /** 0 takes any free port. @default 9464 */
  port?: number;
  /** A file with the keys of Prometheus' own web configuration: TLS, basic auth, headers. @default none */
  webConfigFile?: string;
}

/**
 * meshtap's own endpoint: `/metrics` in text format 0.0.4 or OpenMetrics 1.0, gzipped on request, `/healthz`,
 * `/readyz`. Streams, so that a scrape of 100,000 samples holds up nothing else.
 *
 * `start` rejects with PORT_IN_USE, EXPORT_FAILED or CONFIG_INVALID.
 */
export function prometheus({
  host = '127.0.0.1',
  port = 9464,
  webConfigFile,
}: PrometheusOptions = {}): Exporter {
  return {
    name: 'prometheus',
    async start({ collect, resource, log, ready }) {
      const durations = exporterDurations('prometheus');
      const conflicts = new Set<string>();
      const server = await startMetricsServer({
        host,
        port,
        ...(webConfigFile !== undefined && { web: loadWebConfig(webConfigFile) }),
        collect: async () => ({ families: await collect(), resource }),
        ready,
        onScrape({ seconds, error }) {
          durations.observe(seconds, {
            exporter: 'prometheus',
            outcome: error === undefined ? 'success' : 'failure',
          });
          if (error !== undefined) log.warn({ err: error }, 'scrape failed');
        },
        onConflict(name) {
          if (conflicts.has(name)) return;
          conflicts.add(name);
          log.error({ metric: name }, 'two metrics of one name and different types: the second is left out');
        },
        onError: (error) => log.error({ err: error }, 'metrics server'),
      });
      return {
        address: server.address,
        families: () => [durations.family()],
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
  };
}
