import koffi from 'koffi';
import { bpfFailure, check } from './failure.js';
import { errno, libbpf, memoryAt, type Pointer } from './libbpf.js';
import type { BpfMap } from './map.js';

/** `ring_buffer_sample_fn` of libbpf.h. */
const sample = koffi.proto('int', ['void *', 'void *', 'size_t']);
/** What a sample function returns to be given no more; -EAGAIN. */
const ENOUGH = -11;

/** Reads a RINGBUF map. There may be one reader of a map at a time, in all processes. */
export class RingReader implements Disposable {
  readonly #ring: Pointer;
  readonly #callback: ReturnType<typeof koffi.register>;
  #take: ((record: Uint8Array) => void) | undefined;
  #left = 0;
  #failure: unknown;
  #open = true;

  /** @throws MeshtapError `BPF_FAILED` */
  constructor(map: BpfMap) {
    this.#callback = koffi.register(
      (_: Pointer, data: Pointer, size: number | bigint) => this.#sample(data, Number(size)),
      koffi.pointer(sample),
    );
    const ring = libbpf().ring_buffer__new(map.fd, this.#callback, null, null);
    if (ring === null) {
      koffi.unregister(this.#callback);
      throw bpfFailure(`read the ring buffer ${map.name}`, errno());
    }
    this.#ring = ring;
  }

  /**
   * Hands on the records that are there, at most `limit` of them, oldest first, and gives their place back. A record's
   * bytes hold only for the call. True if there may be more.
   */
  read(take: (record: Uint8Array) => void, limit: number): boolean {
    this.#take = take;
    this.#left = limit;
    this.#failure = undefined;
    const result = libbpf().ring_buffer__consume(this.#ring);
    this.#take = undefined;
    if (this.#failure !== undefined) throw this.#failure;
    if (result === ENOUGH) return true;
    check('read a ring buffer', result);
    return false;
  }

  /** An exception must not pass through libbpf. */
  #sample(data: Pointer, size: number): number {
    try {
      this.#take?.(memoryAt(data, size));
    } catch (error) {
      this.#failure = error;
      return ENOUGH;
    }
    return --this.#left > 0 ? 0 : ENOUGH;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    libbpf().ring_buffer__free(this.#ring);
    koffi.unregister(this.#callback);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
