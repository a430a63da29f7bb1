/**
 * What `replay` and `hubble` have in common: flows come in, counts are asked for.
 *
 * @module
 */
import { MeshtapError } from '../errors.js';
import type { FlowEvent } from '../flows/flow.js';
import type { Counts } from './counts.js';
import { FlowCounter, type FlowLimits } from './flow-counts.js';
import type { ReceiverContext, ReceiverStatus, RunningReceiver } from './receiver.js';

export interface FlowReceiverOptions {
  context: ReceiverContext;
  limits: Partial<FlowLimits> | undefined;
  /** Gives flows until it is done or the signal says so. May not throw but for what nobody expected. */
  read(to: FlowTarget, signal: AbortSignal): Promise<void>;
  /** How it is; undefined as long as nothing is wrong. */
  trouble(): string | undefined;
  /** For `meshtap status`. */
  detail(): Readonly<Record<string, string | number>>;
}

export interface FlowTarget {
  add(event: FlowEvent): void;
  addUnreadable(): void;
}

/** Reads flows and counts them until it is disposed. */
export class FlowReceiver implements RunningReceiver {
  readonly #counter: FlowCounter;
  readonly #trouble: () => string | undefined;
  readonly #detail: FlowReceiverOptions['detail'];
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  #failed: string | undefined;
  #sweep: Promise<Counts> | undefined;

  constructor({ context, limits, read, trouble, detail }: FlowReceiverOptions) {
    const { boundaries, flows, signal, log } = context;
    this.#counter = new FlowCounter(boundaries, limits);
    this.#trouble = trouble;
    this.#detail = detail;
    const target = {
      add: (event: FlowEvent) => {
        this.#counter.add(event);
        flows?.publish(event);
      },
      addUnreadable: () => this.#counter.addUnreadable(),
    };
    this.#reading = read(target, AbortSignal.any([signal, this.#stop.signal])).catch((error: unknown) => {
      this.#failed = error instanceof Error ? error.message : String(error);
      log.error({ err: error }, 'no more flows');
    });
  }

  /** Those who ask at the same time get the same. */
  collect(): Promise<Counts> {
    if (this.#stop.signal.aborted)
      return Promise.reject(new MeshtapError('NOT_READY', 'the receiver is closed'));
    this.#sweep ??= Promise.resolve().then(() => {
      this.#sweep = undefined;
      return this.#counter.counts();
    });
    return this.#sweep;
  }

  status(): ReceiverStatus {
    if (this.#failed !== undefined) return { state: 'failed', reason: this.#failed };
    const { seen, lost, unreadable } = this.#counter;
    const detail = { flows: seen, lost, ...(unreadable > 0 && { unreadable }), ...this.#detail() };
    const reason = this.#trouble();
    return reason === undefined ? { state: 'running', detail } : { state: 'degraded', reason, detail };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#reading;
  }
}
