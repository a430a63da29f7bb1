/**
 * Where flows come together: keeps the latest ones and hands each on to whoever watches. Publishing never waits: who
 * can not keep up loses flows, is told how many, and delays nobody.
 *
 * @module
 */
import type { Flow, FlowEvent, Lost } from './flow.js';
import { nanoseconds } from './flow.js';
import type { Matcher } from './patterns.js';
import { type Redaction, redactor } from './redact.js';
import { Ring } from './ring.js';

export interface FlowHubOptions {
  /** How many flows are kept for those who come later. @default 4096 */
  history?: number;
  /** What is taken out of every flow; false for nothing. @default all of it */
  redact?: Redaction | false;
  /** Want flows also while nobody watches, so that those who come later find them. @default false */
  always?: boolean;
}

/** What receivers give flows to. */
export interface FlowSink {
  publish(event: FlowEvent): void;
  /**
   * Tells whether anybody wants flows: at once, and whenever that changes. For receivers that would have to work for
   * them. Ended by what it returns.
   */
  onWatched(tell: (watched: boolean) => void): () => void;
}

/** Which flows, from when, how many. */
export interface WatchOptions {
  /** @default all */
  filter?: Matcher<Flow>;
  /** The last so many, of those that fit. @default all that are kept */
  last?: number;
  /** The first so many, and then the end. @default all */
  first?: number;
  /** Nanoseconds since the epoch. @default any time */
  since?: bigint | undefined;
  until?: bigint | undefined;
  /** Go on with what comes. @default false */
  follow?: boolean;
  /** How many events may wait for the watcher. @default 4096 */
  queue?: number;
  /** Ends the stream. */
  signal?: AbortSignal;
}

/** How much there is and was. */
export interface HubStatus {
  /** Flows that are kept. */
  readonly flows: number;
  readonly limit: number;
  /** Flows since the start. */
  readonly seen: number;
  /** Flows that never came here, as their sources said. */
  readonly lost: number;
  readonly watchers: number;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

export class FlowHub implements FlowSink {
  readonly #redact: (flow: Flow) => Flow;
  readonly #history: Ring<FlowEvent & { flow: Flow }>;
  readonly #watchers = new Set<Watcher>();
  readonly #told = new Set<(watched: boolean) => void>();
  readonly #always: boolean;
  readonly #since = Date.now();
  #seen = 0;
  #lost = 0;

  constructor({ history = 4096, redact = {}, always = false }: FlowHubOptions = {}) {
    this.#always = always;
    this.#history = new Ring(history);
    this.#redact = redact === false ? (flow) => flow : redactor(redact);
  }

  publish(event: FlowEvent): void {
    if (!('flow' in event)) {
      if ('lost' in event) this.#lost += event.lost.count;
      for (const watcher of this.#watchers) watcher.offer(event);
      return;
    }
    this.#seen++;
    const shown = { ...event, flow: this.#redact(event.flow) };
    this.#history.push(shown);
    for (const watcher of this.#watchers) watcher.offer(shown);
  }

  /**
   * The flows that are kept, oldest first, and then those that come, if asked to follow. A watcher that does not take
   * them fast enough finds a `lost` where some are missing.
   */
  watch(options: WatchOptions = {}): AsyncGenerator<FlowEvent, void, undefined> {
    const { filter = () => true, last, first, since, until, follow = false, queue = 4096, signal } = options;
    const wanted = ({ flow }: { flow: Flow }) =>
      (since === undefined || flow.time >= since) &&
      (until === undefined || flow.time <= until) &&
      filter(flow);
    // From here to the first wait nothing can be published: no gap, nothing twice.
    const past =
      last !== undefined ? this.#history.last(last, wanted) : this.#history.first(first ?? Infinity, wanted);
    if (!follow || first !== undefined) return finished(past);
    const watcher = new Watcher(wanted, queue);
    this.#watchers.add(watcher);
    if (this.#watchers.size === 1) this.#tellWatched();
    return this.#follow(past, watcher, signal);
  }

  async *#follow(
    past: readonly FlowEvent[],
    watcher: Watcher,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<FlowEvent, void, undefined> {
    const stop = () => watcher.stop();
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) stop();
    try {
      yield* past;
      yield* watcher.events();
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#watchers.delete(watcher);
      if (this.#watchers.size === 0) this.#tellWatched();
    }
  }

  onWatched(tell: (watched: boolean) => void): () => void {
    this.#told.add(tell);
    tell(this.#watched);
    return () => void this.#told.delete(tell);
  }

  get #watched(): boolean {
    return this.#always || this.#watchers.size > 0;
  }

  #tellWatched(): void {
    for (const tell of this.#told) tell(this.#watched);
  }

  /** The flows that are kept, oldest first. */
  kept(): readonly Flow[] {
    return this.#history.last(Infinity, () => true).map(({ flow }) => flow);
  }

  status(): HubStatus {
    return {
      flows: this.#history.size,
      limit: this.#history.limit,
      seen: this.#seen,
      lost: this.#lost,
      watchers: this.#watchers.size,
      since: this.#since,
    };
  }
}

async function* finished(events: readonly FlowEvent[]): AsyncGenerator<FlowEvent, void, undefined> {
  yield* events;
}

/** One who watches, and what waits for it. */
class Watcher {
  readonly #wanted: Matcher<{ flow: Flow }>;
  readonly #limit: number;
  readonly #queue: FlowEvent[] = [];
  #lost: { count: number; first: bigint; last: bigint; node: string } | undefined;
  #wake: (() => void) | undefined;
  #stopped = false;

  constructor(wanted: Matcher<{ flow: Flow }>, limit: number) {
    this.#wanted = wanted;
    this.#limit = limit;
  }

  offer(event: FlowEvent): void {
    if ('flow' in event && !this.#wanted(event)) return;
    // Once it lost something it is let in again when half of its queue is free: one gap, not one beside each flow.
    if (this.#queue.length >= (this.#lost ? this.#limit / 2 : this.#limit)) {
      this.#miss(event);
      return;
    }
    this.#tellLost();
    this.#queue.push(event);
    this.#wake?.();
  }

  #miss(event: FlowEvent): void {
    const count = 'flow' in event ? 1 : 'lost' in event ? event.lost.count : 0;
    if (count === 0) return;
    const { time: last, node } = event;
    this.#lost = this.#lost
      ? { ...this.#lost, count: this.#lost.count + count, last }
      : { count, first: last, last, node };
  }

  #tellLost(): void {
    if (!this.#lost) return;
    const { node, ...span } = this.#lost;
    const lost: Lost = { source: 'HUBBLE_RING_BUFFER', cpu: undefined, ...span };
    this.#queue.push({ time: nanoseconds(Date.now()), node, lost });
    this.#lost = undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  async *events(): AsyncGenerator<FlowEvent, void, undefined> {
    while (!this.#stopped) {
      if (this.#queue.length === 0) this.#tellLost();
      if (this.#queue.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
        continue;
      }
      // In one piece: taking from the front of a long array each time is slow.
      yield* this.#queue.splice(0, TAKE);
    }
  }
}

/** Events that are taken from a queue at once. */
const TAKE = 64;
