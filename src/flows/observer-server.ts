/**
 * Serves flows as Hubble's Observer does, so that the stock `hubble` command line and everything else that speaks its API
 * can watch. `meshtap observe` asks here too.
 *
 * @module
 */
import { chmodSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import {
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { MeshtapError } from '../errors.js';
import { compileFilters, type FlowFilter } from './filter.js';
import type { FlowHub, WatchOptions } from './hub.js';
import { nanosecondsOf } from './json.js';
import { namespacesOf } from './namespaces.js';
import { type GetFlowsRequest, HEALTH, OBSERVER, toMessage } from './protocol.js';

/** PEM. */
export interface ServerTls {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Whom clients have to show a certificate of. Absent: anybody may ask. */
  readonly clientCa?: Buffer | undefined;
}

export interface ObserverServerOptions {
  hub: FlowHub;
  /** Path of a unix socket, for its owner only; a dead one's place is taken. @default none */
  socket?: string;
  /** @default none */
  tcp?: { host: string; port: number; tls?: ServerTls | undefined };
  /** What `hubble status` prints. */
  version: string;
  log: Logger;
}

export interface ObserverServer extends AsyncDisposable {
  /** `unix:PATH`, `HOST:PORT`, as clients write them. */
  readonly addresses: readonly string[];
}

/** Names under which health is asked for. */
const SERVICES = new Set(['', 'hubble.server.Observer', 'observer.Observer']);

/** Listens and answers until it is disposed. Rejects with PORT_IN_USE or FLOWS_FAILED. */
export async function serveObserver({
  hub,
  socket,
  tcp,
  version,
  log,
}: ObserverServerOptions): Promise<ObserverServer> {
  const server = new Server();
  const stopping = new AbortController();
  const started = process.hrtime.bigint();
  server.addService(OBSERVER, {
    GetFlows: (call: ServerWritableStream<GetFlowsRequest, object>) =>
      void getFlows(hub, call, stopping.signal, log),
    ServerStatus: answer(() => ({
      ...figures(hub, started),
      num_connected_nodes: { value: 1 },
      num_unavailable_nodes: { value: 0 },
      version: `meshtap ${version}`,
      flows_rate: rate(hub),
    })),
    GetNodes: answer(() => ({
      nodes: [
        {
          name: hostname(),
          version: `meshtap ${version}`,
          state: 'NODE_CONNECTED',
          ...(tcp && { address: `${tcp.host}:${tcp.port}`, tls: { enabled: tcp.tls !== undefined } }),
          ...figures(hub, started),
        },
      ],
    })),
    GetNamespaces: answer(() => ({ namespaces: namespacesOf(hub.kept()) })),
  });
  server.addService(HEALTH, {
    Check: ((call, reply) =>
      SERVICES.has(call.request.service ?? '')
        ? reply(null, { status: 'SERVING' })
        : reply({ code: status.NOT_FOUND, details: 'there is no such service' })) satisfies handleUnaryCall<
      { service?: string },
      object
    >,
  });

  const addresses: string[] = [];
  // Whether the socket is ours to remove.
  let bound = false;
  const close = async () => {
    stopping.abort();
    server.forceShutdown();
    if (bound) rmSync(socket!, { force: true });
  };
  try {
    if (socket !== undefined) {
      if (await answers(socket)) throw taken(`unix:${socket}`);
      rmSync(socket, { force: true });
      bound = true;
      await bind(server, `unix:${socket}`, ServerCredentials.createInsecure());
      chmodSync(socket, 0o600);
      addresses.push(`unix:${socket}`);
    }
    if (tcp) {
      const host = tcp.host.includes(':') ? `[${tcp.host}]` : tcp.host;
      const port = await bind(server, `${host}:${tcp.port}`, credentialsOf(tcp.tls));
      addresses.push(`${tcp.tls ? 'tls://' : ''}${host}:${port}`);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { addresses, [Symbol.asyncDispose]: close };
}

function credentialsOf(tls: ServerTls | undefined): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure();
  const { cert, key, clientCa } = tls;
  return ServerCredentials.createSsl(
    clientCa ?? null,
    [{ cert_chain: cert, private_key: key }],
    clientCa !== undefined,
  );
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (cause, port) => {
      if (!cause) return resolve(port);
      if (cause.message.includes('EADDRINUSE')) return reject(taken(address));
      reject(new MeshtapError('FLOWS_FAILED', `can not serve flows at ${address}`, { cause }));
    });
  });
}

const taken = (address: string) =>
  new MeshtapError('PORT_IN_USE', `can not serve flows at ${address}: something listens there already`, {
    hint: 'Two agents need two names (--instance) and two addresses (flows.server.listen)',
  });

/** Whether somebody listens there; who was killed leaves a socket behind. */
function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asking = connect(socket, () => {
      asking.destroy();
      resolve(true);
    });
    asking.on('error', () => resolve(false));
  });
}

const answer =
  (reply: () => object): handleUnaryCall<object, object> =>
  (_, done) =>
    done(null, reply());

function figures(hub: FlowHub, started: bigint) {
  const { flows, limit, seen } = hub.status();
  return {
    num_flows: String(flows),
    max_flows: String(limit),
    seen_flows: String(seen),
    uptime_ns: String(process.hrtime.bigint() - started),
  };
}

/** Flows a second, over what is kept and at most the last minute. */
function rate(hub: FlowHub): number {
  const { since } = hub.status();
  const from = Math.max(since, Date.now() - MINUTE);
  const seconds = Math.max(1, (Date.now() - from) / 1000);
  const recent = hub.kept().filter(({ time }) => time >= BigInt(Math.round(from)) * 1_000_000n);
  return recent.length / seconds;
}

const MINUTE = 60_000;

/** One stream. A client that does not read is not waited for: its queue in the hub loses. */
async function getFlows(
  hub: FlowHub,
  call: ServerWritableStream<GetFlowsRequest, object>,
  stopping: AbortSignal,
  log: Logger,
): Promise<void> {
  const stop = new AbortController();
  call.on('cancelled', () => stop.abort());
  const signal = AbortSignal.any([stop.signal, stopping]);
  try {
    const flows = hub.watch({ ...watchOptions(call.request), signal });
    call.sendMetadata(new Metadata());
    for await (const event of flows) {
      if (signal.aborted) break;
      if (!call.write(toMessage(event))) await drained(call, signal);
    }
    call.end();
  } catch (error) {
    if (!(error instanceof MeshtapError)) log.error({ err: error }, 'a stream of flows ended');
    call.emit('error', {
      code: error instanceof MeshtapError ? status.INVALID_ARGUMENT : status.INTERNAL,
      details: error instanceof Error ? error.message : String(error),
    });
  }
}

function drained(call: ServerWritableStream<GetFlowsRequest, object>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      call.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.once('drain', done);
    signal.addEventListener('abort', done);
  });
}

/** What a request asks for. Throws FILTER_INVALID. */
function watchOptions({
  number,
  first,
  follow,
  since,
  until,
  whitelist,
  blacklist,
}: GetFlowsRequest): WatchOptions {
  const count =
    number === undefined || number === '0' ? undefined : Math.min(Number(number), Number.MAX_SAFE_INTEGER);
  // Those who only follow want nothing of what was.
  const none = follow === true && count === undefined && since === undefined;
  return {
    filter: compileFilters({ whitelist: filtersOf(whitelist), blacklist: filtersOf(blacklist) }),
    follow: follow ?? false,
    since: since && nanosecondsOf(since),
    until: until && nanosecondsOf(until),
    ...(none && { last: 0 }),
    ...(count !== undefined && (first ? { first: count } : { last: count })),
  };
}

function filtersOf(filters: readonly FlowFilter[] = []): FlowFilter[] {
  return filters.map((filter) => {
    const { experimental, ...fields } = filter as FlowFilter & {
      experimental?: { cel_expression?: string[] };
    };
    if (experimental?.cel_expression?.length)
      throw new MeshtapError('FILTER_INVALID', 'filter cel_expression: not understood here');
    return fields;
  });
}
