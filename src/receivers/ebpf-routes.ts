/**
 * Gives the kernel the automaton of routes, and tells it which patterns apply to which server.
 *
 * There are two tables in the kernel, and the parity of the epoch says which one is in force. The other one is filled, then
 * the epoch is raised: whoever walks from then on walks in the new one, and nothing was detached or stopped for it.
 *
 * @module
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { enums, structs } from '../bpf/generated/counts.js';
import type { Batch, BpfMap } from '../bpf/map.js';
import { MeshtapError } from '../errors.js';
import { Compiler } from '../routes/automaton.js';
import { imageOf, type RouteImage } from '../routes/image.js';
import { PatternError } from '../routes/program.js';
import { CompiledRoutes, EVERYBODY, type Server, type ServiceRoutes } from '../routes/services.js';
import type { Pair } from './counts.js';
import type { Epoch } from './ebpf-entries.js';
import { SETTLE } from './ebpf-retire.js';
import type { RouteIds } from './ebpf-route-ids.js';
import { huffmanSteps } from './hpack.js';

export interface RouteMaps {
  readonly routing: BpfMap;
  readonly tables: BpfMap;
  readonly pages: BpfMap;
  readonly scopes: BpfMap;
  readonly huffman: BpfMap;
}

/** Says who the server of a pair is; undefined while it may be told any moment. */
export type ServerOf = (pair: Pair) => Server | undefined;

const {
  pair_key: PAIR,
  server_key: SERVER,
  route_table: TABLE,
  route_page: PAGE,
  routing: ROUTING,
} = structs;
const { ROUTE_METHODS, ROUTE_SCOPE_WORDS } = enums.route_bound;
const { ROUTE_NONE, ROUTE_OTHER } = enums.route;

/** By their numbers; undefined for the one that nobody could read. */
const METHODS = Object.entries(enums.method).map(([name]) =>
  name === 'METHOD_UNKNOWN' ? undefined : name === 'METHOD_OTHER' ? '_OTHER' : name.replace('METHOD_', ''),
);

export class RouteTables {
  readonly #maps: RouteMaps;
  readonly #ids: RouteIds;
  readonly #epoch: Epoch;
  readonly #compiler: Compiler;
  #routes: CompiledRoutes | undefined;
  #serverOf: ServerOf = () => undefined;
  /** When the table that is not in force may be written to. */
  #writableAt = 0;
  #changing: Promise<void> = Promise.resolve();

  constructor(maps: RouteMaps, ids: RouteIds, epoch: Epoch) {
    this.#maps = maps;
    this.#ids = ids;
    this.#epoch = epoch;
    this.#compiler = new Compiler({ bytes: this.#pagesEach * PAGE.size });
    // Whoever was here before may have changed tables a moment ago.
    if (this.#inForce().epoch !== 0) this.#writableAt = performance.now() + SETTLE;
    maps.huffman.update(new Uint32Array(1), huffmanSteps());
  }

  /** Whether it is of importance to the kernel who a server is. */
  get differ(): boolean {
    return this.#routes?.differ ?? false;
  }

  /** Replaces all routes. Rejects with PATTERN_REFUSED; then those before stay in force. */
  set(
    services: readonly ServiceRoutes[],
    serverOf: ServerOf,
    inSeries: () => ReadonlySet<string>,
  ): Promise<void> {
    const change = this.#changing.then(() => this.#set(services, serverOf, inSeries));
    this.#changing = change.catch(() => {});
    return change;
  }

  async #set(services: readonly ServiceRoutes[], serverOf: ServerOf, inSeries: () => ReadonlySet<string>) {
    const routes = this.#compile(services);
    const all = routes.scopes.flatMap((scope) => scope.routes);
    const names = routes.scopes.map(({ name }) => name);
    this.#ids.assign(new Set(all.map(({ pattern }) => pattern.text)), names, inSeries());
    const image = imageOf(routes, {
      methods: METHODS,
      methodWords: ROUTE_METHODS,
      scopeWords: ROUTE_SCOPE_WORDS,
      // What is no scope any more has the routes of everybody, until its servers are told.
      scopes: this.#ids.scopes.map((name) => (name === undefined || names.includes(name) ? name : EVERYBODY)),
      idOf: (text) => this.#ids.idOf(text),
      other: ROUTE_OTHER,
      none: ROUTE_NONE,
    });
    if (image.words.byteLength > this.#pagesEach * PAGE.size) {
      throw new MeshtapError(
        'PATTERN_REFUSED',
        `the routes take ${Math.ceil(image.words.byteLength / 1024)} KiB`,
        {
          hint: `limits.routes gives them ${(this.#pagesEach * PAGE.size) / 1024}`,
        },
      );
    }
    this.#routes = routes;
    this.#serverOf = serverOf;
    if (all.length > 0) await this.#apply(image, routes.differ ? 0 : this.#ids.scopeNumberOf(EVERYBODY));
    else if (this.#inForce().epoch !== 0) this.#flip(0, 0);
  }

  #compile(services: readonly ServiceRoutes[]): CompiledRoutes {
    try {
      return new CompiledRoutes(services, this.#compiler);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      const room = `limits.routes gives the automaton ${(this.#pagesEach * PAGE.size) / 1024} KiB`;
      throw new MeshtapError(error.code, error.message, { hint: `${error.hint}; ${room}`, cause: error });
    }
  }

  /** Puts an image in force, if it is not. */
  async #apply(image: RouteImage, untold: number): Promise<void> {
    const before = this.#inForce();
    if (this.#isInForce(image, before.epoch) && before.untold === untold) return;
    // Connections remember epochs, of former processes too: none is ever used again.
    const epoch = (before.epoch || randomInt(2, 2 ** 31)) + 1;
    const half = epoch & 1;
    const first = half * this.#pagesEach;
    // A program may still be in this table, which was in force until a moment ago.
    const wait = this.#writableAt - performance.now();
    if (wait > 0) await sleep(wait);
    for (const [i, page] of pagesOf(image).entries())
      this.#maps.pages.update(new Uint32Array([first + i]), page);
    this.#maps.tables.update(new Uint32Array([half]), tableOf(image, first));
    this.#flip(epoch, untold);
  }

  #inForce(): { epoch: number; untold: number } {
    const value = new Uint32Array(ROUTING.size / 4);
    this.#maps.routing.lookup(new Uint32Array(1), value);
    return { epoch: value[0]!, untold: value[1]! };
  }

  #flip(epoch: number, untold: number): void {
    this.#maps.routing.update(new Uint32Array(1), new Uint32Array([epoch, untold]));
    this.#writableAt = performance.now() + SETTLE;
    // Sockets learn anew which scope they have.
    this.#epoch.advance();
  }

  /** Whether an epoch's table is this one: to change nothing keeps what connections remember of it. */
  #isInForce(image: RouteImage, epoch: number): boolean {
    if (epoch === 0) return false;
    const half = epoch & 1;
    const first = half * this.#pagesEach;
    const holds = (map: BpfMap, index: number, expected: Uint8Array) => {
      const value = new Uint8Array(map.valueSize);
      return map.lookup(new Uint32Array([index]), value) && Buffer.compare(value, expected) === 0;
    };
    return (
      holds(this.#maps.tables, half, tableOf(image, first)) &&
      pagesOf(image).every((page, i) => holds(this.#maps.pages, first + i, page))
    );
  }

  /**
   * Tells the kernel which patterns apply to the servers of these pairs. Those of others are forgotten.
   * @param pairOf what is at an index of `pairs`
   */
  tell({ count, keys, values }: Batch, pairOf: (index: number) => Pair | undefined): void {
    if (!this.#routes?.differ) return;
    const indices = new Uint32Array(values.buffer, values.byteOffset, count);
    const wanted = new Map<string, number>();
    for (let i = 0; i < count; i++) {
      const pair = pairOf(indices[i]!);
      const server = pair && this.#serverOf(pair);
      if (!server) continue;
      const key = serverKeyOf(keys.subarray(i * PAIR.size, (i + 1) * PAIR.size));
      wanted.set(textOf(key), this.#ids.scopeNumberOf(this.#routes.scopeOf(server)));
    }
    const told = this.#maps.scopes.read();
    const toldValues = new Uint32Array(told.values.buffer, told.values.byteOffset, told.count);
    const present = new Map<string, number>();
    for (let i = 0; i < told.count; i++)
      present.set(textOf(told.keys.subarray(i * SERVER.size, (i + 1) * SERVER.size)), toldValues[i]!);
    let changed = false;
    for (const text of present.keys()) if (!wanted.has(text)) this.#maps.scopes.delete(bytesOf(text));
    for (const [text, scope] of wanted) {
      if (present.get(text) === scope) continue;
      this.#maps.scopes.update(bytesOf(text), new Uint32Array([scope]));
      changed = true;
    }
    if (changed) this.#epoch.advance();
  }

  /** Pages of one table. */
  get #pagesEach(): number {
    return Math.floor(this.#maps.pages.maxEntries / 2);
  }
}

/** `struct route_table` */
function tableOf({ classes, choiceOf, route, scope, scopes, absolute, classOf }: RouteImage, first: number) {
  const bytes = new Uint8Array(TABLE.size);
  const view = new DataView(bytes.buffer);
  const numbers = { first_page: first, classes, choice_of: choiceOf, route, scope, scopes, absolute };
  for (const [name, value] of Object.entries(numbers))
    view.setUint32(TABLE.fields[name as keyof typeof numbers].offset, value, true);
  bytes.set(classOf, TABLE.fields.class_of.offset);
  return bytes;
}

/** Of `struct route_page`, as many as it takes. */
function pagesOf({ words }: RouteImage): Uint8Array[] {
  const bytes = new Uint8Array(Math.ceil(words.byteLength / PAGE.size) * PAGE.size);
  bytes.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
  return Array.from({ length: bytes.length / PAGE.size }, (_, i) =>
    bytes.subarray(i * PAGE.size, (i + 1) * PAGE.size),
  );
}

/** The `struct server_key` of a `struct pair_key`. */
function serverKeyOf(pair: Uint8Array): Uint8Array {
  const key = new Uint8Array(SERVER.size);
  const { cgroup, peer, port, role, peer_kind } = PAIR.fields;
  const at = (field: { offset: number; size: number }) =>
    pair.subarray(field.offset, field.offset + field.size);
  if (pair[role.offset] === enums.role.ROLE_SERVER) {
    key.set(at(cgroup), SERVER.fields.peer.offset);
    key[SERVER.fields.peer_kind.offset] = enums.peer_kind.PEER_CGROUP;
  } else {
    key.set(at(peer), SERVER.fields.peer.offset);
    key[SERVER.fields.peer_kind.offset] = pair[peer_kind.offset]!;
  }
  key.set(at(port), SERVER.fields.port.offset);
  return key;
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'));
