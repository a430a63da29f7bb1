import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import type { Exporter } from './exporter.js';
import { type OtlpOptions, otlpExporter, readCa, type Transport } from './otlp.js';

/**
 * Sends to an OpenTelemetry receiver over HTTP with protobuf, by default to http://localhost:4318/v1/metrics; an
 * endpoint is the whole URL. A receiver that is down, slow or talks nonsense costs failed exports, which are counted
 * and logged once, and nothing else.
 *
 * `start` rejects with CONFIG_INVALID; it does not wait for the receiver.
 */
export function otlpHttp(options: OtlpOptions = {}): Exporter {
  return otlpExporter('otlp-http', options, (timeout) => connect(options, timeout));
}

function connect(
  { endpoint = 'http://localhost:4318/v1/metrics', headers = {}, caFile, insecure = false }: OtlpOptions,
  timeoutMillis: number,
): Transport {
  const ca = readCa(caFile);
  const agent = endpoint.startsWith('https:')
    ? new HttpsAgent({ keepAlive: true, rejectUnauthorized: !insecure, ...(ca && { ca }) })
    : new HttpAgent({ keepAlive: true });
  return {
    exporter: new OTLPMetricExporter({
      url: endpoint,
      headers: { ...headers },
      timeoutMillis,
      compression: CompressionAlgorithm.GZIP,
      httpAgentOptions: () => agent,
    }),
    address: endpoint,
    // The official exporter makes several attempts.
    retryable: () => false,
    // Its time limit is for silence only: a receiver that answers a byte at a time would hold it for ever.
    cut: () => agent.destroy(),
  };
}
