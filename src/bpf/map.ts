import { closeSync } from 'node:fs';
import { check, EEXIST, ENOENT, ENOSPC } from './failure.js';
import { libbpf, type Memory } from './libbpf.js';

/** `enum bpf_map_type` of linux/bpf.h. */
export const MAP_TYPE = {
  HASH: 1,
  ARRAY: 2,
  PERCPU_ARRAY: 6,
  LRU_HASH: 9,
  LPM_TRIE: 11,
  QUEUE: 22,
  SK_STORAGE: 24,
  RINGBUF: 27,
} as const;

/** Update flags (BPF_ANY, BPF_NOEXIST): create or replace; create only. */
const ANY = 0;
const NO_EXIST = 1;

/** What a batch read found. The arrays are the reader's own and hold until its next read. */
export interface Batch {
  readonly count: number;
  /** `count` keys, one after the other. */
  readonly keys: Uint8Array;
  /** `count` values, one after the other. */
  readonly values: Uint8Array;
}

/** Room for a hash that was never read, in entries. */
const FIRST_BATCH = 256;

/** A map in the kernel, by its file descriptor. Keys and values are bytes in the machine's order. */
export class BpfMap implements Disposable {
  readonly fd: number;
  readonly type: number;
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Entries the buffers hold. */
  #room = 0;
  #keys = new Uint8Array(0);
  #values = new Uint8Array(0);
  #owned: boolean;

  /**
   * Takes over `fd`, to be closed with the map; not if it is only `borrowed`.
   *
   * @throws MeshtapError `BPF_FAILED` if it is no map.
   */
  constructor(fd: number, { borrowed = false } = {}) {
    this.#owned = !borrowed;
    // struct bpf_map_info of linux/bpf.h
    const info = new DataView(new ArrayBuffer(80));
    const size = new Uint32Array([info.byteLength]);
    const bytes = new Uint8Array(info.buffer);
    check('read what a map is', libbpf().bpf_obj_get_info_by_fd(fd, bytes, size));
    this.fd = fd;
    this.type = info.getUint32(0, true);
    this.keySize = info.getUint32(8, true);
    this.valueSize = info.getUint32(12, true);
    this.maxEntries = info.getUint32(16, true);
    this.name = Buffer.from(bytes.subarray(24, 40)).toString().replace(/\0.*$/s, '');
  }

  /** An ARRAY of `entries` values, made by user space for user space. */
  static createArray(name: string, valueSize: number, entries: number): BpfMap {
    const fd = libbpf().bpf_map_create(MAP_TYPE.ARRAY, name, 4, valueSize, entries, null);
    return new BpfMap(check(`create the map ${name}`, fd));
  }

  /** Opens a pinned map. */
  static open(path: string): BpfMap {
    return new BpfMap(check(`open the pinned map ${path}`, libbpf().bpf_obj_get(path)));
  }

  pin(path: string): void {
    check(`pin the map ${this.name} as ${path}`, libbpf().bpf_obj_pin(this.fd, path));
  }

  /** Reads one value into `value`; false if there is no such key. */
  lookup(key: Memory, value: Memory): boolean {
    return this.#found('look up', libbpf().bpf_map_lookup_elem(this.fd, key, value));
  }

  /** Creates or replaces an entry. */
  update(key: Memory, value: Memory): void {
    check(`update ${this.name}`, libbpf().bpf_map_update_elem(this.fd, key, value, ANY));
  }

  /** Creates an entry; false if there is one already. */
  insert(key: Memory, value: Memory): boolean {
    const result = libbpf().bpf_map_update_elem(this.fd, key, value, NO_EXIST);
    if (result === -EEXIST) return false;
    check(`insert into ${this.name}`, result);
    return true;
  }

  /** False if there was no such key. */
  delete(key: Memory): boolean {
    return this.#found('delete from', libbpf().bpf_map_delete_elem(this.fd, key));
  }

  /** Appends to a QUEUE. Fails with E2BIG in the message where it is full. */
  push(value: Memory): void {
    check(`push to ${this.name}`, libbpf().bpf_map_update_elem(this.fd, null, value, ANY));
  }

  /** Takes the first value of a QUEUE; false if it is empty. */
  pop(value: Memory): boolean {
    return this.#found('pop from', libbpf().bpf_map_lookup_and_delete_elem(this.fd, null, value));
  }

  /** All keys, one system call each: for maps that know no batches (LPM_TRIE), outside of hot paths. */
  keys(): Uint8Array[] {
    const keys: Uint8Array[] = [];
    let previous: Uint8Array | null = null;
    for (;;) {
      const next: Uint8Array = new Uint8Array(this.keySize);
      if (!this.#found('walk', libbpf().bpf_map_get_next_key(this.fd, previous, next))) return keys;
      keys.push(next);
      previous = next;
    }
  }

  /**
   * Reads a HASH, or the first `limit` entries of an ARRAY, in few system calls. An entry that comes or goes
   * meanwhile may be in the batch or not; none is in it twice.
   */
  read(limit: number = this.maxEntries): Batch {
    const isArray = this.type === MAP_TYPE.ARRAY;
    const wanted = isArray ? Math.min(limit, this.maxEntries) : Number.POSITIVE_INFINITY;
    this.#makeRoom(0, isArray ? wanted : FIRST_BATCH);
    const position = new Uint8Array(Math.max(this.keySize, 4));
    let from: Uint8Array | null = null;
    let read = 0;
    while (read < wanted) {
      const count = new Uint32Array([Math.min(wanted, this.#room) - read]);
      const keys = this.#keys.subarray(read * this.keySize);
      const values = this.#values.subarray(read * this.valueSize);
      const result = libbpf().bpf_map_lookup_batch(this.fd, from, position, keys, values, count, null);
      if (result !== -ENOSPC) {
        read += count[0]!;
        if (!this.#found('read', result)) break;
        from = position;
      }
      // A bucket of the hash is read whole or not at all, so what is left over may be too little for the next one.
      if (read < wanted) this.#makeRoom(read, this.#room * 2);
    }
    return {
      count: read,
      keys: this.#keys.subarray(0, read * this.keySize),
      values: this.#values.subarray(0, read * this.valueSize),
    };
  }

  /** Buffers for at least `entries`, keeping the first `used`. */
  #makeRoom(used: number, entries: number): void {
    if (this.#room >= entries) return;
    const keys = new Uint8Array(entries * this.keySize);
    const values = new Uint8Array(entries * this.valueSize);
    keys.set(this.#keys.subarray(0, used * this.keySize));
    values.set(this.#values.subarray(0, used * this.valueSize));
    this.#keys = keys;
    this.#values = values;
    this.#room = entries;
  }

  #found(verb: string, result: number): boolean {
    if (result === -ENOENT) return false;
    check(`${verb} ${this.name}`, result);
    return true;
  }

  /** Lets go of the map; one that is pinned or used by a program lives on. */
  close(): void {
    if (this.#owned) closeSync(this.fd);
    this.#owned = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
