/**
 * Makes room for new series without losing what the idle ones counted.
 *
 * The kernel hands out indices, user space takes them back. An entry that was idle for long is deleted from the
 * hash, and every socket is told to look its index up again (a new epoch). From then on nothing new is counted at
 * the index, but a program may still be running that looked it up before. So the slot is left alone for a while;
 * then its value is final. The slot goes on showing it until somebody says that it is kept elsewhere; then it is
 * zeroed and handed out again. When the name comes back, it begins another life, at 0.
 *
 * What is deleted is written down before, so that whoever comes after a crash knows whose counts lie at an index
 * that has no key.
 *
 * @module
 */
import { randomUUID } from 'node:crypto';
import type { Ending } from './counts.js';

/** What a table of slots does to the kernel's maps. */
export interface SlotStore {
  /** Replaces what is written down, to outlive this process: every entry that has no key and is not free. */
  note(leaving: readonly Leaving[]): void;
  /** Deletes a key from the hash. */
  remove(key: Uint8Array): void;
  /** Puts a key back with its index; false if the kernel has made it anew meanwhile. */
  restore(key: Uint8Array, index: number): boolean;
  /** Makes every socket look its index up again before it counts the next time. */
  announce(): void;
  /** Zeroes the values of an index and hands it out again. */
  release(index: number): void;
}

/** An entry on its way out. */
export interface Leaving {
  readonly key: Uint8Array;
  readonly index: number;
  /** Tells this life from all others, of all processes. */
  readonly token: string;
}

export interface SlotOptions<Label> {
  readonly store: SlotStore;
  /** What an entry is called; undefined if that is not known yet. */
  readonly identify: (key: Uint8Array) => Label | undefined;
  /** Counters per value. */
  readonly words: number;
  /** A number that changes whenever something was counted. */
  readonly activity: (words: Float64Array, at: number) => number;
  /** How long nothing must have been counted, milliseconds. */
  readonly idleAfter: number;
  /** How long a deleted entry is left alone, milliseconds. @default SETTLE */
  readonly settle?: number;
  /** Milliseconds since whenever. @default performance.now */
  readonly clock?: () => number;
}

/** No program runs as long, milliseconds. */
export const SETTLE = 1000;

interface Slot<Label> {
  readonly key: Uint8Array;
  readonly index: number;
  readonly label: Label;
  /** Stands for it outside. */
  readonly life: object;
  activity: number;
  /** When something was counted last, as far as sweeps saw. */
  changedAt: number;
  /** Set when the key is deleted. */
  leaving: { readonly at: number; readonly activity: number; readonly token: string } | undefined;
  /** What was read last is all that will ever be there. */
  settled: boolean;
  final: boolean;
}

/** Counts of one slot. */
export interface Row<Label> {
  readonly label: Label;
  /** The same object as long as the slot has this key. */
  readonly life: object;
  readonly ending: Ending | undefined;
  /** Shared by the rows of a sweep: this one's counters begin at `at`. */
  readonly words: Float64Array;
  readonly at: number;
}

/** The entries of one hash and their values. A sweep calls `see` for each entry, then `read`, then `retire`. */
export class SlotTable<Label> {
  readonly #options: Required<SlotOptions<Label>>;
  /** By index. */
  readonly #slots = new Map<number, Slot<Label>>();

  constructor(options: SlotOptions<Label>) {
    this.#options = { settle: SETTLE, clock: () => performance.now(), ...options };
  }

  /** Slots that are not free. */
  get used(): number {
    return this.#slots.size;
  }

  /** One more than the highest index that `read` asks for. */
  get end(): number {
    let end = 0;
    for (const index of this.#slots.keys()) end = Math.max(end, index + 1);
    return end;
  }

  has(index: number): boolean {
    return this.#slots.has(index);
  }

  labelOf(index: number): Label | undefined {
    return this.#slots.get(index)?.label;
  }

  labels(): Label[] {
    return [...this.#slots.values()].map((slot) => slot.label);
  }

  /** Notes an entry of the hash. */
  see(key: Uint8Array, index: number): void {
    if (!this.#slots.has(index)) this.#add(key, index);
  }

  /** Takes over what a former process was about to give up. */
  adopt({ key, index, token }: Leaving): void {
    const slot = this.#add(key, index);
    if (slot) slot.leaving = { at: this.#options.clock(), activity: -1, token };
  }

  #add(key: Uint8Array, index: number): Slot<Label> | undefined {
    const own = key.slice();
    const label = this.#options.identify(own);
    if (!label) return undefined;
    const changedAt = this.#options.clock();
    const begin = { life: {}, activity: -1, changedAt, leaving: undefined, settled: false, final: false };
    const slot: Slot<Label> = { key: own, index, label, ...begin };
    this.#slots.set(index, slot);
    return slot;
  }

  /**
   * All counts, a row per slot. `valueAt` adds what an index held at the time `now`, or later, to the counters that
   * begin at `at`.
   */
  read(now: number, valueAt: (index: number, into: Float64Array, at: number) => void): Row<Label>[] {
    const { words: size, activity, settle } = this.#options;
    const words = new Float64Array(this.#slots.size * size);
    return Array.from(this.#slots.values(), (slot, i) => {
      const at = i * size;
      valueAt(slot.index, words, at);
      const active = activity(words, at);
      if (active !== slot.activity) slot.changedAt = now;
      slot.activity = active;
      slot.settled = slot.leaving !== undefined && now - slot.leaving.at >= settle;
      const ending = slot.leaving && { token: slot.leaving.token, final: slot.final };
      return { label: slot.label, life: slot.life, ending, words, at };
    });
  }

  /** Begins to give up what was idle for long. `isNeeded` tells an index that something else refers to. */
  retire(isNeeded: (index: number) => boolean = () => false): void {
    const { store, idleAfter, clock } = this.#options;
    for (const slot of this.#slots.values()) if (slot.settled && !slot.final) this.#settle(slot, isNeeded);
    const now = clock();
    const idle = [...this.#slots.values()].filter(
      (slot) => !slot.leaving && now - slot.changedAt >= idleAfter && !isNeeded(slot.index),
    );
    if (idle.length === 0) return;
    for (const slot of idle) slot.leaving = { at: now, activity: slot.activity, token: randomUUID() };
    store.note(this.#leaving());
    for (const slot of idle) store.remove(slot.key);
    store.announce();
    const at = clock();
    for (const slot of idle) slot.leaving = { ...slot.leaving!, at };
  }

  #settle(slot: Slot<Label>, isNeeded: (index: number) => boolean): void {
    const { store, clock } = this.#options;
    const { activity } = slot.leaving!;
    const inUse = isNeeded(slot.index);
    const cameIn = activity >= 0 && slot.activity !== activity;
    // Something came in after all: the entry is as alive as any other.
    if ((inUse || cameIn) && store.restore(slot.key, slot.index)) {
      slot.leaving = undefined;
      slot.settled = false;
      slot.changedAt = clock();
    } else if (!inUse) slot.final = true;
  }

  #leaving(): Leaving[] {
    return [...this.#slots.values()].flatMap(({ key, index, leaving }) =>
      leaving ? [{ key, index, token: leaving.token }] : [],
    );
  }

  /** Hands the indices of final slots out again: their counts are kept elsewhere. */
  release(tokens: ReadonlySet<string>): void {
    const { store } = this.#options;
    let freed = false;
    for (const [index, { final, leaving }] of this.#slots) {
      if (!final || !tokens.has(leaving!.token)) continue;
      store.release(index);
      this.#slots.delete(index);
      freed = true;
    }
    // Sockets that had found no room may have a series of their own now.
    if (freed) store.announce();
  }
}
