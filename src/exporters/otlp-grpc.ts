import { credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import type { Exporter } from './exporter.js';
import { type OtlpOptions, otlpExporter, readCa, type Transport } from './otlp.js';

/** https://opentelemetry.io/docs/specs/otlp/#failures; the official exporter makes one attempt only. */
const RETRYABLE: ReadonlySet<number | undefined> = new Set([
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNAVAILABLE,
  status.DATA_LOSS,
]);

/**
 * Sends to an OpenTelemetry receiver over gRPC, by default to http://localhost:4317. A receiver that is down, slow or
 * talks nonsense costs failed exports, which are counted and logged once, and nothing else.
 *
 * `start` rejects with CONFIG_INVALID; it does not wait for the receiver.
 */
export function otlpGrpc(options: OtlpOptions = {}): Exporter {
  return otlpExporter('otlp-grpc', options, (timeout) => connect(options, timeout));
}

function connect(
  { endpoint = 'http://localhost:4317', headers = {}, caFile, insecure = false }: OtlpOptions,
  timeoutMillis: number,
): Transport {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const ca = readCa(caFile);
  return {
    exporter: new OTLPMetricExporter({
      url: endpoint,
      metadata,
      timeoutMillis,
      compression: CompressionAlgorithm.GZIP,
      ...(endpoint.startsWith('https:') && {
        credentials: credentials.createSsl(ca, null, null, { rejectUnauthorized: !insecure }),
      }),
    }),
    address: endpoint,
    retryable: (error) => RETRYABLE.has((error as Partial<ServiceError>).code),
    // Calls have a deadline of their own.
    cut() {},
  };
}
