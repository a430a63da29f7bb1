/**
 * Makes room for new series without losing what the idle ones counted.
 *
 * The kernel hands out indices, user space takes them back. An entry that was idle for long is deleted from the
 * hash, and every socket is told to look its index up again (a new epoch). From then on nothing new is counted at
 * the index, but a program may still be running that looked it up before. So the slot is left alone for a while;
 * then its value is final, is remembered under the entry's name, and the slot is zeroed and handed out again. When
 * the name comes back, its counts go on from there.
 *
 * @module
 */

/** What a table of slots does to the kernel's maps. */
export interface SlotStore {
  /** Deletes a key from the hash. */
  remove(key: Uint8Array): void;
  /** Puts a key back with its index; false if the kernel has made it anew meanwhile. */
  restore(key: Uint8Array, index: number): boolean;
  /** Makes every socket look its index up again before it counts the next time. */
  announce(): void;
  /** Zeroes the values of an index and hands it out again. */
  release(index: number): void;
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
  /** How many entries that left are remembered; the one that left first is forgotten first. */
  readonly remember: number;
  /** How long a deleted entry is left alone, milliseconds. @default 1000 */
  readonly settle?: number;
  /** Milliseconds since whenever. @default performance.now */
  readonly clock?: () => number;
}

interface Slot<Label> {
  readonly key: Uint8Array;
  readonly index: number;
  readonly label: Label;
  activity: number;
  /** When something was counted last, as far as sweeps saw. */
  changedAt: number;
  /** Set when the key is deleted. */
  removed: { readonly at: number; readonly activity: number } | undefined;
}

/** Counts of one name: what its slots hold now, and what former ones held. */
export interface Row<Label> {
  readonly label: Label;
  /** Shared by the rows of a sweep: this one's counters begin at `at`. */
  readonly words: Float64Array;
  readonly at: number;
}

/** The entries of one hash and their values. A sweep calls `see` for each entry, then `read`, then `retire`. */
export class SlotTable<Label extends { readonly id: string }> {
  readonly #options: Required<SlotOptions<Label>>;
  /** By index. */
  readonly #slots = new Map<number, Slot<Label>>();
  /** How many slots a name has. Two, while one of them is being given up. */
  readonly #names = new Map<string, number>();
  /** What given up slots held, of names that are here. */
  readonly #former = new Map<string, Float64Array>();
  /** The same of names that left. */
  readonly #remembered = new Map<string, Float64Array>();
  /** What slots that are about to be given up held when nobody counted there any more. By index. */
  readonly #final = new Map<number, Float64Array>();
  /** Indices without a key that a former process left behind, and since when that is known. */
  readonly #orphans = new Map<number, number>();

  constructor(options: SlotOptions<Label>) {
    this.#options = { settle: 1000, clock: () => performance.now(), ...options };
  }

  /** Slots that are not free. */
  get used(): number {
    return this.#slots.size + this.#orphans.size;
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
    if (this.#slots.has(index)) return;
    const own = key.slice();
    const label = this.#options.identify(own);
    if (!label) return;
    const changedAt = this.#options.clock();
    this.#slots.set(index, { key: own, index, label, activity: -1, changedAt, removed: undefined });
    const { id } = label;
    this.#names.set(id, (this.#names.get(id) ?? 0) + 1);
    const remembered = this.#remembered.get(id);
    if (remembered) this.#former.set(id, remembered);
    this.#remembered.delete(id);
  }

  /** Notes an index that holds counts and has no key: its process ended while it gave it up. */
  adopt(index: number): void {
    this.#orphans.set(index, this.#options.clock());
  }

  /**
   * All counts, a row per name. `valueAt` adds what an index held at the time `now`, or later, to the counters that
   * begin at `at`.
   */
  read(now: number, valueAt: (index: number, into: Float64Array, at: number) => void): Row<Label>[] {
    const { words: size, activity, settle } = this.#options;
    const words = new Float64Array(this.#slots.size * size);
    const rows = new Map<string, Row<Label>>();
    let at = 0;
    for (const slot of this.#slots.values()) {
      valueAt(slot.index, words, at);
      const active = activity(words, at);
      if (active !== slot.activity) slot.changedAt = now;
      slot.activity = active;
      if (slot.removed && now - slot.removed.at >= settle) {
        this.#final.set(slot.index, words.slice(at, at + size));
      }

      const { id } = slot.label;
      const row = rows.get(id);
      if (row) add(row.words, row.at, words.subarray(at, at + size));
      else {
        const former = this.#former.get(id);
        if (former) add(words, at, former);
        rows.set(id, { label: slot.label, words, at });
      }
      at += size;
    }
    return [...rows.values()];
  }

  /** Gives up what was idle for long. `isNeeded` tells an index that something else refers to. */
  retire(isNeeded: (index: number) => boolean = () => false): void {
    this.#giveUp(isNeeded);
    const { store, idleAfter, clock } = this.#options;
    const now = clock();
    const idle = [...this.#slots.values()].filter(
      (slot) => !slot.removed && now - slot.changedAt >= idleAfter && !isNeeded(slot.index),
    );
    if (idle.length === 0) return;
    for (const slot of idle) store.remove(slot.key);
    store.announce();
    const at = clock();
    for (const slot of idle) slot.removed = { at, activity: slot.activity };
  }

  #giveUp(isNeeded: (index: number) => boolean): void {
    const { store, settle, clock } = this.#options;
    const free: number[] = [];
    for (const [index, final] of this.#final) {
      const slot = this.#slots.get(index)!;
      const inUse = isNeeded(index);
      // Something came in after all: the entry is as alive as any other, and its counts are to be seen.
      if ((inUse || slot.activity !== slot.removed!.activity) && store.restore(slot.key, index)) {
        slot.removed = undefined;
        slot.changedAt = clock();
      } else if (!inUse) {
        this.#forget(slot, final);
        free.push(index);
      }
    }
    this.#final.clear();
    for (const [index, since] of this.#orphans) {
      if (clock() - since < settle) continue;
      this.#orphans.delete(index);
      free.push(index);
    }
    for (const index of free) store.release(index);
    // Sockets that had found no room may have a series of their own now.
    if (free.length > 0) store.announce();
  }

  #forget({ index, label: { id } }: Slot<Label>, final: Float64Array): void {
    this.#slots.delete(index);
    const former = this.#former.get(id);
    if (former) add(final, 0, former);
    const others = this.#names.get(id)! - 1;
    if (others > 0) {
      this.#names.set(id, others);
      this.#former.set(id, final);
      return;
    }
    this.#names.delete(id);
    this.#former.delete(id);
    this.#remembered.set(id, final);
    if (this.#remembered.size > this.#options.remember) {
      this.#remembered.delete(this.#remembered.keys().next().value!);
    }
  }
}

function add(to: Float64Array, at: number, what: Float64Array): void {
  for (let i = 0; i < what.length; i++) to[at + i]! += what[i]!;
}
