/**
 * Scripted peers: processes in cgroups of their own that are told step by step what bytes to write at what moment.
 *
 * @module
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Scope } from './scope.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export type Bytes = string | Uint8Array;

const bufferOf = (bytes: Bytes): Buffer =>
  typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** One process. It ends with its scope. */
export class Peer {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #orders = 0;

  constructor(
    scope: Scope,
    service: string,
    { netns, script = 'raw-peer-process.js' }: { netns?: string; script?: string } = {},
  ) {
    this.#process = scope.start(service, [process.execPath, join(import.meta.dirname, script)], {
      netns,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#process.on(
      'message',
      ({ number, result, error }: { number: number; result: unknown; error?: Error }) => {
        const { resolve, reject } = this.#waiting.get(number)!;
        this.#waiting.delete(number);
        if (error) reject(Object.assign(new Error(error.message), error));
        else resolve(result);
      },
    );
    this.#process.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the peer is gone'));
    });
  }

  order(order: string, details: object): Promise<unknown> {
    const number = this.#orders++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#process.send({ number, order, ...details });
    });
  }

  /** At a free port, unless it is given one. */
  async listen(host = '127.0.0.1', port = 0): Promise<Address> {
    return { host, port: (await this.order('listen', { host, port })) as number };
  }

  /** Begins to connect: an end that has no other yet. */
  async open(address: Address): Promise<End> {
    return new End(this, (await this.order('open', address)) as number);
  }

  /** As the kernel does it for a process that crashes: its connections are closed. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }
}

/** One end of one connection. */
export class End {
  readonly #peer: Peer;
  readonly #id: number;
  /** The one it is connected to, if it is scripted too. */
  other: End | undefined;

  constructor(peer: Peer, id: number) {
    this.#peer = peer;
    this.#id = id;
  }

  #order(order: string, details: object = {}): Promise<unknown> {
    return this.#peer.order(order, { id: this.#id, ...details });
  }

  /** The local port; rejects with the error of connect(2) in `code`. */
  async connected(): Promise<number> {
    return (await this.#order('connected')) as number;
  }

  /** Sends each piece as a segment of its own, and goes on when it has arrived at the other end. */
  async say(...pieces: Bytes[]): Promise<void> {
    for (const piece of pieces) {
      const bytes = bufferOf(piece);
      if (bytes.length === 0) continue;
      await Promise.all([this.write(bytes), this.other!.read(bytes.length)]);
    }
  }

  /** Sends that many bytes that mean nothing, and goes on when they have arrived. */
  async pour(length: number): Promise<void> {
    await Promise.all([this.#order('pour', { length }), this.other!.drain(length)]);
  }

  /** Sends without waiting for the other end. */
  async write(bytes: Bytes): Promise<void> {
    await this.#order('write', { bytes: bufferOf(bytes) });
  }

  async read(length: number): Promise<Buffer> {
    return Buffer.from((await this.#order('read', { length })) as Uint8Array);
  }

  async drain(length: number): Promise<void> {
    await this.#order('drain', { length });
  }

  /** Reads nothing any more, so that the window closes. */
  async deafen(): Promise<void> {
    await this.#order('deaf');
  }

  /** Sends FIN; the other direction stays open. */
  async end(): Promise<void> {
    await this.#order('end');
  }

  /** close(2) */
  async destroy(): Promise<void> {
    await this.#order('destroy');
  }

  /** Sends RST. */
  async reset(): Promise<void> {
    await this.#order('reset');
  }

  async setUserTimeout(milliseconds: number): Promise<void> {
    await this.#order('userTimeout', { milliseconds });
  }

  /** Waits until nothing more will come: `end` for a FIN, or the code of the error. */
  async over(): Promise<string> {
    return (await this.#order('over')) as string;
  }
}

/** Both ends of one connection. */
export class Line {
  readonly client: End;
  readonly server: End;

  private constructor(client: End, server: End) {
    this.client = client;
    this.server = server;
    client.other = server;
    server.other = client;
  }

  static async connect(client: Peer, server: Peer, address: Address): Promise<Line> {
    const here = await client.open(address);
    const from = await here.connected();
    return new Line(here, new End(server, (await server.order('accept', { from })) as number));
  }

  /** A request, then its answer: each in one segment, or in the given pieces. */
  async exchange(request: Bytes | Bytes[], answer: Bytes | Bytes[]): Promise<void> {
    await this.client.say(...[request].flat());
    await this.server.say(...[answer].flat());
  }

  /** Closes in order, that end first. */
  async hangUp(first: 'client' | 'server' = 'client'): Promise<void> {
    const [one, two] = first === 'client' ? [this.client, this.server] : [this.server, this.client];
    await one.end();
    await two.over();
    await two.end();
    await one.over();
    await Promise.all([one.destroy(), two.destroy()]);
  }
}
