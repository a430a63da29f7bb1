import { hostname } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { enums, structs } from '../bpf/generated/counts.js';
import type { BpfMap } from '../bpf/map.js';
import { RingReader } from '../bpf/ring.js';
import type { FlowSink } from '../flows/hub.js';
import type { LedgerLine } from './counts.js';
import { type Dictionaries, decodeEvent, type KernelFlow, toFlow } from './ebpf-flows.js';
import type { ReceiverContext } from './receiver.js';

/** What single requests leave the kernel by. */
export interface FlowMaps {
  readonly watching: BpfMap;
  readonly ring: BpfMap;
  readonly counts: BpfMap;
  readonly notes: BpfMap;
}

export interface KernelWatchOptions extends Dictionaries {
  readonly maps: FlowMaps;
  /** Events per second at most. */
  readonly rate: number;
  readonly sink: FlowSink;
  readonly nameEnds: NonNullable<ReceiverContext['nameEnds']>;
  readonly log: Logger;
}

const { watching: WATCHING, flow_note: NOTE } = structs;
const { FLOW_WINDOW } = enums.flow_bound;
const { FLOWS_SHOWN, FLOWS_LIMITED, FLOWS_FULL, FLOW_OUTCOMES } = enums.flow_outcome;

/** How often the ring is read while somebody watches, milliseconds: what a flow is late at most. */
const PERIOD = 50;
/** Records that are read before others get their turn. */
const SLICE = 500;
/** How long a flow waits for names that may be told any moment. */
const WAIT = 1000;
/** A request that began so long ago and has not ended was lost sight of. */
const FORGOTTEN = 600_000;
const FORGET_EVERY = 10_000;
const MILLION = 1_000_000n;

/** A flow of an end that may get a name any moment. */
interface Waiting {
  readonly flow: KernelFlow;
  readonly until: number;
}

/**
 * Has the kernel tell single requests for as long as somebody wants them, and hands them on with names. Nothing of this
 * runs, here or in the kernel, while nobody does.
 */
export class KernelWatch implements AsyncDisposable {
  readonly #options: KernelWatchOptions;
  readonly #stopBeingTold: () => void;
  readonly #node = hostname();
  #ring: RingReader | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  /** From CLOCK_MONOTONIC to the epoch. */
  #offset = 0n;
  #lost = 0;
  #lookedAt = 0n;
  #forgotAt = 0;
  #waiting: Waiting[] = [];

  constructor(options: KernelWatchOptions) {
    this.#options = options;
    // A former process may have ended without a word.
    this.#switch(false);
    this.#stopBeingTold = options.sink.onWatched((watched) => (watched ? this.#begin() : this.#end()));
  }

  /** What became of flows since the maps were made. */
  ledger(): LedgerLine[] {
    const { shown, lost } = this.#totals();
    const line = (outcome: string, count: number): LedgerLine => ({
      ...{ role: 'unknown', subject: 'flows', outcome, count },
    });
    return shown + lost === 0 ? [] : [line('seen', shown), line('lost', lost)];
  }

  #begin(): void {
    if (this.#timer) return;
    try {
      this.#ring = new RingReader(this.#options.maps.ring);
      // What was left there is from before.
      while (this.#ring.read(() => {}, Number.POSITIVE_INFINITY));
      this.#lost = this.#totals().lost;
      this.#lookedAt = process.hrtime.bigint();
      this.#offset = offsetNow();
      this.#switch(true);
      this.#timer = setInterval(() => void this.#tick(), PERIOD);
    } catch (error) {
      this.#ring?.close();
      this.#ring = undefined;
      this.#options.log.error({ err: error }, 'single requests can not be shown');
    }
  }

  #end(): void {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
    try {
      this.#switch(false);
      this.#forget(0);
    } catch (error) {
      this.#options.log.error({ err: error }, 'the kernel still tells single requests');
    } finally {
      const ring = this.#ring;
      this.#ring = undefined;
      // It may be read this very moment.
      if (this.#reading) void this.#reading.then(() => ring?.close());
      else ring?.close();
    }
  }

  #switch(on: boolean): void {
    const value = new Uint8Array(WATCHING.size);
    const view = new DataView(value.buffer);
    const quota = Math.max(1, Math.round((this.#options.rate * 2 ** FLOW_WINDOW) / 1e9));
    view.setUint32(WATCHING.fields.on.offset, on ? 1 : 0, true);
    view.setUint32(WATCHING.fields.quota.offset, quota, true);
    this.#options.maps.watching.update(new Uint32Array(1), value);
  }

  #tick(): Promise<void> {
    this.#reading ??= this.#read()
      .catch((error: unknown) => this.#options.log.error({ err: error }, 'reading single requests'))
      .finally(() => {
        this.#reading = undefined;
      });
    return this.#reading;
  }

  async #read(): Promise<void> {
    const offset = offsetNow();
    // What the clocks say in between two of their ticks would make times of flows jump.
    if (abs(offset - this.#offset) > 2n * MILLION) this.#offset = offset;
    this.#publishWaiting();
    const take = (record: Uint8Array) => this.#take(decodeEvent(record, this.#options));
    while (this.#ring?.read(take, SLICE)) await setImmediate();
    this.#tellLost();
    if (performance.now() - this.#forgotAt > FORGET_EVERY) this.#forget(FORGOTTEN);
  }

  #take(flow: KernelFlow): void {
    const names = this.#options.nameEnds(flow.pair);
    if (names.source && names.destination) this.#publish(flow, names);
    else this.#waiting.push({ flow, until: performance.now() + WAIT });
  }

  #publishWaiting(): void {
    if (this.#waiting.length === 0) return;
    const now = performance.now();
    const still: Waiting[] = [];
    for (const one of this.#waiting) {
      const names = this.#options.nameEnds(one.flow.pair);
      if ((names.source && names.destination) || now >= one.until) this.#publish(one.flow, names);
      else still.push(one);
    }
    this.#waiting = still;
  }

  #publish(event: KernelFlow, names: ReturnType<KernelWatchOptions['nameEnds']>): void {
    const flow = toFlow(event, names, { node: this.#node, offset: this.#offset });
    this.#options.sink.publish({ time: flow.time, node: this.#node, flow });
  }

  /** What found no room in the ring, or was more than the rate, since the last look. */
  #tellLost(): void {
    const now = process.hrtime.bigint();
    const { lost } = this.#totals();
    const count = lost - this.#lost;
    const [first, last] = [this.#lookedAt + this.#offset, now + this.#offset];
    this.#lost = lost;
    this.#lookedAt = now;
    if (count === 0) return;
    const event = { source: 'PERF_EVENT_RING_BUFFER' as const, count, cpu: undefined, first, last };
    this.#options.sink.publish({ time: last, node: this.#node, lost: event });
  }

  #totals(): { shown: number; lost: number } {
    const { values, count } = this.#options.maps.counts.read();
    const words = new BigUint64Array(values.slice().buffer, 0, count * FLOW_OUTCOMES);
    const sum = (outcome: number) =>
      words.reduce((total, n, i) => (i % FLOW_OUTCOMES === outcome ? total + Number(n) : total), 0);
    return { shown: sum(FLOWS_SHOWN), lost: sum(FLOWS_LIMITED) + sum(FLOWS_FULL) };
  }

  /** Takes out what is kept of requests that are older, milliseconds. */
  #forget(age: number): void {
    const { notes } = this.#options.maps;
    const { count, keys, values } = notes.read();
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    const before = process.hrtime.bigint() - BigInt(age) * MILLION;
    for (let i = 0; i < count; i++) {
      if (view.getBigUint64(i * NOTE.size + NOTE.fields.at.offset, true) > before) continue;
      notes.delete(keys.slice(i * notes.keySize, (i + 1) * notes.keySize));
    }
    this.#forgotAt = performance.now();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopBeingTold();
    this.#end();
    await this.#reading;
  }
}

const offsetNow = () => BigInt(Date.now()) * MILLION - process.hrtime.bigint();
const abs = (n: bigint) => (n < 0n ? -n : n);
