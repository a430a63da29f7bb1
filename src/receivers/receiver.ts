import type { Logger } from 'pino';
import type { Counts } from './counts.js';

/** What a receiver is given when it starts. */
export interface ReceiverContext {
  readonly log: Logger;
  /** Upper bounds of latency buckets, seconds, ascending. */
  readonly boundaries: readonly number[];
  readonly signal: AbortSignal;
}

/** The state of one receiver, told apart by `state`. */
export type ReceiverStatus =
  | { readonly state: 'running'; readonly detail: Readonly<Record<string, string | number>> }
  | {
      readonly state: 'degraded';
      readonly reason: string;
      readonly detail: Readonly<Record<string, string | number>>;
    }
  | { readonly state: 'failed'; readonly reason: string };

export interface RunningReceiver extends AsyncDisposable {
  /** One sweep over all counts. Calls that overlap share a sweep. Rejects with a MeshtapError. */
  collect(): Promise<Counts>;
  status(): ReceiverStatus;
}

/**
 * A source of counts. One file per receiver in this folder; each passes `test/contract/receiver.ts`.
 * `start` either returns a running receiver or rejects and leaves nothing behind.
 */
export interface Receiver {
  /** One word; also the file's name. */
  readonly name: string;
  start(context: ReceiverContext): Promise<RunningReceiver>;
}
