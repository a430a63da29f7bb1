/**
 * The kernel's maps of one kind of entry: a hash that gives an index, an array of values in stripes, a queue of free
 * indices. Below FIRST_INDEX lies what exceeded the budget, one value per side.
 *
 * @module
 */
import { FIRST_INDEX } from '../bpf/counting.js';
import { structs } from '../bpf/generated/counts.js';
import type { Batch, BpfMap } from '../bpf/map.js';
import { addStripes } from './ebpf-decode.js';
import { type Row, type SlotOptions, SlotTable } from './ebpf-retire.js';

const { control: CONTROL } = structs;

/** Tells all sockets to look their indices and peers up again, through `struct control`. */
export class Epoch {
  readonly #control: BpfMap;
  readonly #value = new Uint32Array(CONTROL.size / 4);

  constructor(control: BpfMap) {
    this.#control = control;
  }

  advance(): void {
    const first = new Uint32Array(1);
    this.#control.lookup(first, this.#value);
    this.#value[CONTROL.fields.epoch.offset / 4]!++;
    this.#control.update(first, this.#value);
  }
}

export interface EntryMaps {
  readonly keys: BpfMap;
  readonly values: BpfMap;
  readonly free: BpfMap;
}

export interface EntriesOptions<Label> extends Omit<SlotOptions<Label>, 'store' | 'words'> {
  readonly maps: EntryMaps;
  readonly stripes: number;
  readonly epoch: Epoch;
  /** What lies at the indices below FIRST_INDEX. */
  readonly overflow: readonly Label[];
}

export class Entries<Label extends { readonly id: string }> {
  readonly #maps: EntryMaps;
  readonly #stripes: number;
  readonly #overflow: readonly Label[];
  readonly #activity: (words: Float64Array, at: number) => number;
  readonly #identify: (key: Uint8Array) => Label | undefined;
  readonly #words: number;
  #values: Uint32Array = new Uint32Array(0);
  #readAt = 0;
  readonly slots: SlotTable<Label>;

  constructor({ maps, stripes, epoch, overflow, ...slots }: EntriesOptions<Label>) {
    this.#maps = maps;
    this.#stripes = stripes;
    this.#overflow = overflow;
    this.#activity = slots.activity;
    this.#identify = slots.identify;
    this.#words = maps.values.valueSize / 8;
    const { keys } = maps;
    this.slots = new SlotTable({
      ...slots,
      words: this.#words,
      store: {
        remove: (key) => {
          keys.delete(key);
        },
        restore: (key, index) => keys.insert(key, new Uint32Array([index])),
        announce: () => epoch.advance(),
        release: (index) => this.#release(index),
      },
    });
  }

  /** The label of an index, of an overflowing one too. */
  labelOf(index: number): Label | undefined {
    return this.#overflow[index] ?? this.slots.labelOf(index);
  }

  /** All keys with their indices. */
  readKeys(): Batch {
    return this.#maps.keys.read();
  }

  /** Notes which entries there are. */
  see({ count, keys, values }: Batch): void {
    const { keySize } = this.#maps.keys;
    const indices = words32(values);
    for (let i = 0; i < count; i++) {
      this.slots.see(keys.subarray(i * keySize, (i + 1) * keySize), indices[i]!);
    }
  }

  /** Reads the values of all entries. They hold until the next time. */
  readValues(): void {
    this.#readAt = performance.now();
    const end = Math.max(this.slots.end, FIRST_INDEX);
    this.#values = words32(this.#maps.values.read(end * this.#stripes).values);
  }

  /** All counts as of `readValues`. What exceeded the budget is among them if there was any. */
  rows(): Row<Label>[] {
    const rows = this.slots.read(this.#readAt, (index, into, at) => this.#add(index, into, at));
    for (const [index, label] of this.#overflow.entries()) {
      const words = new Float64Array(this.#words);
      this.#add(index, words, 0);
      if (this.#activity(words, 0) > 0) rows.push({ label, words, at: 0 });
    }
    return rows;
  }

  /**
   * Takes back the indices that a former process took from idle entries and did not hand out again: they have counts
   * and no key, or one of `seen` that can not be told any more. To be called once all sockets were told to look again.
   */
  adoptOrphans(seen: Batch): void {
    const { keys, values } = this.#maps;
    for (let i = 0; i < seen.count; i++) {
      const key = seen.keys.subarray(i * keys.keySize, (i + 1) * keys.keySize);
      if (!this.#identify(key)) keys.delete(key);
    }
    // The values before the keys, because an entry gets its key before its counts.
    this.#values = words32(values.read().values);
    const { count, values: indices } = keys.read();
    const taken = new Set(words32(indices).subarray(0, count));
    for (let index = FIRST_INDEX; index < keys.maxEntries; index++) {
      const words = new Float64Array(this.#words);
      this.#add(index, words, 0);
      if (!taken.has(index) && this.#activity(words, 0) > 0) this.slots.adopt(index);
    }
  }

  #add(index: number, into: Float64Array, at: number): void {
    addStripes(this.#values, { index, stripes: this.#stripes, size: this.#words }, into, at);
  }

  #release(index: number): void {
    // First the values: whoever gets the index must find it empty.
    const zero = new Uint8Array(this.#maps.values.valueSize);
    for (let stripe = 0; stripe < this.#stripes; stripe++) {
      this.#maps.values.update(new Uint32Array([index * this.#stripes + stripe]), zero);
    }
    this.#maps.free.push(new Uint32Array([index]));
  }
}

const words32 = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
