import { Peer } from './raw-peer.js';
import type { Scope } from './scope.js';

export interface Datagram {
  readonly bytes: Uint8Array;
  readonly host: string;
  readonly port: number;
}

type To = Pick<Datagram, 'host' | 'port'>;

/** A process with UDP sockets that are told what to send. */
export class DatagramPeer {
  readonly #peer: Peer;

  constructor(scope: Scope, service: string, netns?: string) {
    this.#peer = new Peer(scope, service, { script: 'datagram-peer-process.js', ...(netns && { netns }) });
  }

  /** A socket bound to that address; connected if `to` is given. */
  async open({ host = '127.0.0.1', port = 0, to }: { host?: string; port?: number; to?: To } = {}) {
    const opened = (await this.#peer.order('open', { host, port, to })) as { id: number; port: number };
    const { id } = opened;
    return {
      port: opened.port,
      send: (bytes: Uint8Array, to?: To) => this.#peer.order('send', { id, bytes, to }),
      receive: () => this.#peer.order('receive', { id }) as Promise<Datagram>,
      close: () => this.#peer.order('close', { id }),
    };
  }
}

export type DatagramSocket = Awaited<ReturnType<DatagramPeer['open']>>;
