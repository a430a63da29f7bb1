/**
 * The methods of gRPC calls. The kernel gives each path an id, for as long as its map lives, and keeps the id with the
 * series.
 *
 * @module
 */
import { enums, structs } from '../bpf/generated/counts.js';
import type { BpfMap } from '../bpf/map.js';
import type { Rpc } from './counts.js';
import { decodeHuffman } from './hpack.js';

/** What a path says. */
export type RpcMethod = Pick<Rpc, 'service' | 'method'>;

const { rpc_method_key: KEY } = structs;
const { RPC_METHOD_NONE, RPC_METHOD_OVERFLOW, FIRST_RPC_METHOD } = enums.rpc_method;

const UNKNOWN: RpcMethod = { service: 'unknown', method: 'unknown' };
const OTHER: RpcMethod = { service: '_OTHER', method: '_OTHER' };

/** `struct rpc_method_key`: "/package.Service/Method". What does not look so is `_OTHER`. */
export function decodeRpcMethod(key: Uint8Array): RpcMethod {
  const { length, huffman, byte } = KEY.fields;
  const bytes = key.subarray(byte.offset, byte.offset + key[length.offset]!);
  const path = key[huffman.offset] ? decodeHuffman(bytes) : Buffer.from(bytes).toString('latin1');
  const found = /^\/([\x21-\x7e]+)\/([\x21-\x2e\x30-\x7e]+)$/.exec(path);
  return found ? { service: found[1]!, method: found[2]! } : OTHER;
}

/** Paths by id, read when an id comes up that was not there before. */
export class RpcMethods {
  readonly #map: BpfMap;
  readonly #known = new Map<number, RpcMethod>([
    [RPC_METHOD_NONE, UNKNOWN],
    [RPC_METHOD_OVERFLOW, OTHER],
  ]);

  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** Ids that are taken. */
  get used(): number {
    return this.#known.size - FIRST_RPC_METHOD;
  }

  /** How many there can be. */
  get limit(): number {
    return this.#map.maxEntries - FIRST_RPC_METHOD;
  }

  /** Undefined where the kernel is just about to write it. */
  of(id: number): RpcMethod | undefined {
    if (!this.#known.has(id)) this.#read();
    return this.#known.get(id);
  }

  #read(): void {
    const { count, keys, values } = this.#map.read();
    const { keySize } = this.#map;
    const ids = new Uint32Array(values.buffer, values.byteOffset, count);
    for (let i = 0; i < count; i++) {
      const id = ids[i]!;
      if (this.#known.has(id)) continue;
      this.#known.set(id, decodeRpcMethod(keys.subarray(i * keySize, (i + 1) * keySize)));
    }
  }
}
