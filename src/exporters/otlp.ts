/**
 * What both OTLP exporters share: a reader that collects at intervals, and a sender between it and the official
 * exporter that splits, retries, gives up in time, and says so once.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import type { Logger } from 'pino';
import { explain, MeshtapError } from '../errors.js';
import { type DeltaProducer, deltaOf } from '../metrics/delta.js';
import { type Durations, exporterDurations } from '../metrics/durations.js';
import { bounded } from './bounded.js';
import type { Exporter, ExporterContext, RunningExporter } from './exporter.js';
import { batches } from './otlp-batches.js';

export interface OtlpOptions {
  /** Where to. @default the exporter's own, on this machine */
  endpoint?: string;
  /** Sent with every request, such as an authorization. @default {} */
  headers?: Readonly<Record<string, string>>;
  /** How often to send, milliseconds. @default 15000 */
  interval?: number;
  /** How long one attempt may take, milliseconds; all attempts together may take an interval. @default 10000 */
  timeout?: number;
  /**
   * Totals since the beginning, or what came since the last delivery. With `delta`, what could not be delivered is
   * part of the next delivery; what was counted while no meshtap ran is not delivered. @default 'cumulative'
   */
  temporality?: 'cumulative' | 'delta';
  /** PEM file of the authorities to trust instead of the system's. @default none */
  caFile?: string;
  /** Do not check the certificate of an https endpoint. @default false */
  insecure?: boolean;
}

/** A way to a receiver. */
export interface Transport {
  readonly exporter: PushMetricExporter;
  /** For people. */
  readonly address: string;
  /** Whether it is worth another attempt; never true where the exporter itself makes several. */
  retryable(error: unknown): boolean;
  /** Ends what is under way, however the receiver behaves. */
  cut(): void;
}

/** Bytes of a message before compression; receivers take 4 MiB unless told otherwise. */
const BATCH = 3.5 * 1024 * 1024;
/** Milliseconds to wait after a first failed attempt, doubled each time. */
const BACKOFF = 500;
/** Milliseconds that a stop may take to deliver the last numbers. */
const STOP = 3_000;

/** An exporter called `name` that sends through what `connect` makes, given the time of one attempt. */
export function otlpExporter(
  name: string,
  { interval = 15_000, timeout = 10_000, temporality = 'cumulative' }: OtlpOptions,
  connect: (timeout: number) => Transport,
): Exporter {
  return {
    name,
    async start({ producer, resource, log }: ExporterContext): Promise<RunningExporter> {
      const attempt = Math.min(timeout, interval);
      const transport = connected(connect, attempt);
      const delta = temporality === 'delta' ? deltaOf(producer) : undefined;
      const sender = new Sender({ name, transport, attempt, interval, log, delta });
      const reader = new PeriodicExportingMetricReader({
        exporter: sender,
        exportIntervalMillis: interval,
        // The sender ends before; this is for whoever changes it.
        exportTimeoutMillis: interval,
        metricProducers: [delta ?? producer],
      });
      const provider = new MeterProvider({ resource: resourceFromAttributes(resource), readers: [reader] });
      let stopped: Promise<void> | undefined;
      const stop = async () => {
        sender.hurry(STOP);
        await bounded(provider.shutdown(), STOP + 500);
        transport.cut();
      };
      return {
        address: transport.address,
        families: () => [sender.durations.family()],
        [Symbol.asyncDispose]: () => (stopped ??= stop()),
      };
    },
  };
}

function connected(connect: (timeout: number) => Transport, timeout: number): Transport {
  try {
    return connect(timeout);
  } catch (cause) {
    if (cause instanceof MeshtapError) throw cause;
    throw new MeshtapError('CONFIG_INVALID', 'otlp: these options do not make a connection', { cause });
  }
}

interface SenderOptions {
  name: string;
  transport: Transport;
  /** Milliseconds for one attempt. */
  attempt: number;
  /** Milliseconds for all attempts at all batches of a collection. */
  interval: number;
  log: Logger;
  delta: DeltaProducer | undefined;
}

type Callback = Parameters<PushMetricExporter['export']>[1];

/** One collection at a time: memory does not depend on the receiver. */
class Sender implements PushMetricExporter {
  readonly durations: Durations;
  readonly #options: SenderOptions;
  readonly #stopping = new AbortController();
  #latest = Number.POSITIVE_INFINITY;
  #busy = false;
  #failures = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.durations = exporterDurations(options.name);
  }

  export(metrics: ResourceMetrics, done: Callback): void {
    if (this.#busy) {
      done(failed(new Error('the last collection is still being sent')));
      return;
    }
    this.#busy = true;
    const start = performance.now();
    const finish = (outcome: 'success' | 'failure') => {
      this.#busy = false;
      this.durations.observe((performance.now() - start) / 1000, { exporter: this.#options.name, outcome });
    };
    this.#send(metrics, start + this.#options.interval).then(
      () => {
        this.#recovered();
        finish('success');
        done({ code: SUCCESS });
      },
      (error: Error) => {
        this.#failed(error);
        finish('failure');
        done(failed(error));
      },
    );
  }

  /** From now on, everything is to end within so many milliseconds, and waiting is over. */
  hurry(milliseconds: number): void {
    this.#latest = performance.now() + milliseconds;
    this.#stopping.abort();
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    await this.#options.transport.exporter.shutdown();
  }

  async #send(metrics: ResourceMetrics, deadline: number): Promise<void> {
    for (const batch of batches(metrics, BATCH)) {
      await this.#deliver(batch, deadline);
      this.#options.delta?.delivered(batch);
    }
  }

  async #deliver(batch: ResourceMetrics, deadline: number): Promise<void> {
    const { transport, attempt } = this.#options;
    for (let wait = BACKOFF; ; wait *= 2) {
      const end = Math.min(deadline, this.#latest);
      try {
        return await this.#attempt(batch, Math.min(performance.now() + attempt, end));
      } catch (error) {
        // Jitter, so that many agents do not come back in step.
        const pause = wait * (0.5 + Math.random());
        if (!transport.retryable(error) || performance.now() + pause > end) throw error;
        // A stop ends the pause it comes into; what time it leaves is for attempts at the same pace.
        const { signal } = this.#stopping;
        await sleep(pause, undefined, signal.aborted ? {} : { signal }).catch(() => undefined);
      }
    }
  }

  #attempt(batch: ResourceMetrics, end: number): Promise<void> {
    const { transport } = this.#options;
    return new Promise((resolve, reject) => {
      const late = () => {
        reject(new Error('no answer in time'));
        transport.cut();
      };
      const timer = setTimeout(late, Math.max(0, end - performance.now()));
      transport.exporter.export(batch, ({ code, error }) => {
        clearTimeout(timer);
        if (code === SUCCESS) resolve();
        else reject(error ?? new Error('refused'));
      });
    });
  }

  #failed(error: Error): void {
    this.#failures++;
    if (this.#failures > 1) return;
    const { log, transport } = this.#options;
    const reason = new MeshtapError('EXPORT_FAILED', `${transport.address} can not be reached`, {
      cause: error,
    });
    log.warn({ code: reason.code }, `${explain(reason)}; trying on, this is logged once`);
  }

  #recovered(): void {
    if (this.#failures > 0)
      this.#options.log.info(`sending works again after ${this.#failures} failed exports`);
    this.#failures = 0;
  }
}

/** The authorities to trust, null for the system's. Throws CONFIG_INVALID. */
export function readCa(file: string | undefined): Buffer | null {
  if (file === undefined) return null;
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new MeshtapError('CONFIG_INVALID', `${file}: can not be read`, { cause });
  }
}

/** `ExportResultCode` of @opentelemetry/core, which is not a dependency for two numbers. */
const SUCCESS = 0;

function failed(error: Error): Parameters<Callback>[0] {
  return { code: 1, error };
}
