import type { MetricProducer } from '@opentelemetry/sdk-metrics';
import type { Logger } from 'pino';
import type { MetricFamily } from '../metrics/family.js';

/** What an exporter is given when it starts. */
export interface ExporterContext {
  /** All families of all dialects, from one fresh sweep. Rejects if the sweep failed. */
  collect(): Promise<readonly MetricFamily[]>;
  /** The same as an OpenTelemetry producer, for exporters that are OpenTelemetry readers. */
  readonly producer: MetricProducer;
  /** Resource attributes: `service.name`, `host.name`, ... */
  readonly resource: Readonly<Record<string, string>>;
  readonly log: Logger;
  /** Whether every receiver runs, for `/readyz`. */
  ready(): boolean;
}

export interface RunningExporter extends AsyncDisposable {
  /** Where the numbers are to be had or are sent to, for people. */
  readonly address: string;
  /** Families about the exporter itself (failures, duration). */
  families?(): readonly MetricFamily[];
}

/**
 * A way out for the numbers. One file per exporter in this folder; each passes `test/contract/exporter.ts`.
 * `start` either returns a running exporter or rejects with a MeshtapError and leaves nothing behind.
 */
export interface Exporter {
  /** One word; also the file's name. */
  readonly name: string;
  start(context: ExporterContext): Promise<RunningExporter>;
}
