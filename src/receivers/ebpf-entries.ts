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
import { decodeLeaving, encodeLeaving } from './ebpf-leaving.js';
import { type Row, SETTLE, type SlotOptions, SlotTable } from './ebpf-retire.js';
import type { Memory } from './receiver.js';

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

export interface EntriesOptions<Label extends object> extends Omit<SlotOptions<Label>, 'store' | 'words'> {
  readonly maps: EntryMaps;
  readonly stripes: number;
  readonly epoch: Epoch;
  /** What lies at the indices below FIRST_INDEX. */
  readonly overflow: readonly Label[];
  /** Where what is on its way out is written down. */
  readonly memory: Memory | undefined;
}

export class Entries<Label extends object> {
  readonly #maps: EntryMaps;
  readonly #stripes: number;
  readonly #overflow: readonly Label[];
  readonly #activity: (words: Float64Array, at: number) => number;
  readonly #memory: Memory | undefined;
  readonly #words: number;
  /** Name of the list of what is on its way out. */
  readonly #list: string;
  #values: Uint32Array = new Uint32Array(0);
  #readAt = 0;
  /** Indices that nobody seemed to have when this process began, and when that was. */
  #lost: { readonly at: number; readonly indices: ReadonlySet<number> } | undefined;
  #recovered = false;
  readonly slots: SlotTable<Label>;

  constructor({ maps, stripes, epoch, overflow, memory, ...slots }: EntriesOptions<Label>) {
    this.#maps = maps;
    this.#stripes = stripes;
    this.#overflow = overflow;
    this.#activity = slots.activity;
    this.#memory = memory;
    this.#words = maps.values.valueSize / 8;
    const { keys } = maps;
    this.#list = `leaving_${keys.name}`;
    this.slots = new SlotTable({
      ...slots,
      words: this.#words,
      store: {
        note: (leaving) => memory?.keep(this.#list, encodeLeaving(leaving)),
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
      if (this.#activity(words, 0) > 0) rows.push({ label, life: label, ending: undefined, words, at: 0 });
    }
    return rows;
  }

  /**
   * Takes up what a former process left half done: entries that it had written down go on leaving, and indices that
   * have neither a key nor a place in the queue are handed out again. To be called once all sockets were told to look
   * again, in each sweep until it returns true.
   */
  recover(): boolean {
    if (this.#recovered) return true;
    if (!this.#lost) {
      this.#lost = { at: performance.now(), indices: this.#adopt(this.#unaccounted()) };
    } else if (performance.now() - this.#lost.at >= SETTLE) {
      // One that a program was just about to use is in use by now.
      for (const index of this.#unaccounted()) if (this.#lost.indices.has(index)) this.#release(index);
      this.#recovered = true;
    }
    return this.#recovered;
  }

  /** Indices without a key that are not free either. */
  #unaccounted(): Set<number> {
    const { keys } = this.#maps;
    const all = new Set<number>();
    for (let index = FIRST_INDEX; index < keys.maxEntries; index++)
      if (!this.slots.has(index)) all.add(index);
    // What is free can only be seen by going once round the queue.
    const index = new Uint32Array(1);
    const free = new Set<number>();
    while (this.#maps.free.pop(index)) {
      this.#maps.free.push(index);
      if (free.has(index[0]!)) break;
      free.add(index[0]!);
    }
    for (const it of free) all.delete(it);
    // After the queue, because an index leaves it before it has a key.
    const { count, values } = keys.read();
    for (const taken of words32(values).subarray(0, count)) all.delete(taken);
    return all;
  }

  /** Takes over those of these that are written down and hold counts; returns the others. */
  #adopt(indices: Set<number>): Set<number> {
    this.#values = words32(this.#maps.values.read().values);
    for (const entry of decodeLeaving(this.#memory?.kept(this.#list) ?? new Uint8Array())) {
      if (!indices.has(entry.index)) continue;
      const words = new Float64Array(this.#words);
      this.#add(entry.index, words, 0);
      if (this.#activity(words, 0) === 0) continue;
      this.slots.adopt(entry);
      if (this.slots.has(entry.index)) indices.delete(entry.index);
    }
    return indices;
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
