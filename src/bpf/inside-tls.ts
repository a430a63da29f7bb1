/**
 * The programs of `bpf-src/tls.bpf.c`: they read inside TLS and count in the maps of an instance.
 *
 * @module
 */
import { closeSync, openSync } from 'node:fs';
import { type CountingOptions, configureCounting, type Maps } from './counting.js';
import { bpfFailure } from './failure.js';
import { structs } from './generated/counts.js';
import { libbpf, TEST_RUN_OPTIONS_SIZE } from './libbpf.js';
import type { BpfMap } from './map.js';
import { type BpfProgram, type LoadedObject, openObject, shippedObject } from './object.js';
import { Uprobe, type UprobeTarget } from './uprobe.js';

/** Names of the programs that can be attached to a library's functions. */
export type TlsProgram =
  | 'enter_read'
  | 'enter_write'
  | 'enter_read_ex'
  | 'enter_write_ex'
  | 'leave_read'
  | 'leave_write'
  | 'unseen';

const { tls_socket: SOCKET, control: CONTROL } = structs;
/** Of `over` in tls.bpf.c. */
const ORDERLY = 256;
const VOID = 512;
/** An application may read on for a moment what had arrived before the end. */
const GRACE = 500_000_000n;

export interface InsideTlsOptions extends Pick<CountingOptions, 'boundaries' | 'stripes'> {
  /** The maps of the instance to count in. */
  readonly maps: Maps;
  /** The cgroup-v2 directory whose processes are read, with all below it: others are not, wherever they meet a probe. */
  readonly cgroup: string;
  /** Connections that can be read at a time. */
  readonly connections: number;
}

export class InsideTls implements Disposable {
  readonly connections: number;
  readonly #object: LoadedObject;
  readonly #shared: Maps;
  readonly #programs: ReadonlyMap<string, BpfProgram>;

  private constructor(object: LoadedObject, { maps, connections }: InsideTlsOptions) {
    this.#object = object;
    this.#shared = maps;
    this.connections = connections;
    this.#programs = new Map(object.programs.map((program) => [program.name, program]));
    for (let slot = 0; slot < connections; slot++) this.#map('free_slots').push(new Uint32Array([slot]));
  }

  /** Rejects with `OBJECT_MISSING`, `VERIFIER_REFUSED` or `BPF_FAILED`, the latter two also where the kernel has no BTF. */
  static async load(options: InsideTlsOptions): Promise<InsideTls> {
    using spec = await openObject(shippedObject('tls'));
    configureCounting(spec, options);
    for (const name of ['tls_connections', 'tls_http2', 'tls_slots', 'free_slots'])
      spec.setMaxEntries(name, options.connections);
    for (const name of spec.maps) {
      const map = options.maps.get(name);
      if (map) spec.reuse(name, map);
    }
    const object = await spec.load();
    try {
      const running = new InsideTls(object, options);
      running.#watch(options.cgroup);
      running.#want(1);
      return running;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  attach(program: TlsProgram, target: UprobeTarget): Uprobe {
    return Uprobe.attach(this.#programs.get(program)!, target);
  }

  /** All calls of the process are seen since then, ns of the monotonic clock; 0 = not all are, so it is not read for now. */
  seeAllOf(pid: number, since: bigint): void {
    this.#map('tls_processes').update(new Uint32Array([pid]), new BigUint64Array([since]));
  }

  /** The same for every process of which nothing was said. */
  seeAllOfOthers(since: bigint): void {
    this.seeAllOf(0, since);
  }

  forget(pid: number): void {
    for (const map of ['tls_processes', 'tls_uncertain']) this.#map(map).delete(new Uint32Array([pid]));
  }

  /** Processes in which it was not certain on which socket some calls were: those are not read. */
  get uncertain(): readonly number[] {
    const { count, keys } = this.#map('tls_uncertain').read();
    return [...new Uint32Array(keys.slice(0, count * 4).buffer)];
  }

  /** Settles the connections that have ended. */
  sweep(): void {
    const now = process.hrtime.bigint();
    const value = new Uint8Array(SOCKET.size);
    const view = new DataView(value.buffer);
    for (const { cookie, slot } of this.#slots()) {
      const known = this.#shared.get('tls_sockets')!.lookup(cookie, value);
      const endedAt = known ? view.getBigUint64(SOCKET.fields.ended_at.offset, true) : 1n;
      if (endedAt === 0n || endedAt + GRACE > now) continue;
      const failure = value[SOCKET.fields.failure.offset]!;
      const orderly = value[SOCKET.fields.orderly.offset] ? ORDERLY : 0;
      this.#end(cookie, slot, endedAt, known ? failure | orderly : VOID);
    }
  }

  /** Connections that are read now. */
  get used(): number {
    return this.#slots().length;
  }

  close(): void {
    this.#want(0);
    for (const { cookie, slot } of this.#slots()) this.#end(cookie, slot, 0n, VOID);
    this.#object.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #slots(): { cookie: BigUint64Array; slot: number }[] {
    const { count, keys, values } = this.#map('tls_slots').read();
    const cookies = new BigUint64Array(keys.slice(0, count * 8).buffer);
    const slots = new Uint32Array(values.slice(0, count * 4).buffer);
    return [...cookies].map((cookie, i) => ({ cookie: new BigUint64Array([cookie]), slot: slots[i]! }));
  }

  #end(cookie: BigUint64Array, slot: number, at: bigint, how: number): void {
    this.#shared.get('tls_sockets')!.delete(cookie);
    if (!this.#map('tls_slots').delete(cookie)) return;
    const context = new Uint8Array(new BigUint64Array([BigInt(slot), at, BigInt(how)]).buffer);
    const options = { sz: TEST_RUN_OPTIONS_SIZE, ctx_in: context, ctx_size_in: context.length };
    const result = libbpf().bpf_prog_test_run_opts(this.#programs.get('over')!.fd, options);
    if (result < 0) throw bpfFailure('settle a connection that has ended', result);
    this.#map('free_slots').push(new Uint32Array([slot]));
  }

  #watch(cgroup: string): void {
    const directory = openSync(cgroup, 'r');
    try {
      this.#map('watched').update(new Uint32Array([0]), new Uint32Array([directory]));
    } finally {
      closeSync(directory);
    }
  }

  /** Whether the programs that see packets tell which connections carry TLS. */
  #want(wanted: 0 | 1): void {
    const first = new Uint32Array(1);
    const value = new Uint32Array(CONTROL.size / 4);
    const control = this.#shared.get('control')!;
    control.lookup(first, value);
    value[CONTROL.fields.decode_tls.offset / 4] = wanted;
    control.update(first, value);
  }

  #map(name: string): BpfMap {
    return this.#object.maps.get(name)!;
  }
}
