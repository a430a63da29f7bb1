/**
 * What every server of ours over HTTP does: listens, speaks TLS, asks for a password, answers GET and HEAD only.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { MeshtapError } from '../errors.js';
import { OPEN, type WebConfig } from './web-config.js';

/** Sends a line of text. */
export type Say = (status: number, text: string, headers?: Readonly<Record<string, string>>) => void;

export interface WebServerOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  web?: WebConfig;
  /** Of a request that may be made, by somebody who may make it. */
  answer(request: IncomingMessage, response: ServerResponse, say: Say): Promise<void> | void;
  /** What no client can be told. */
  onError(error: unknown): void;
}

export interface WebServer extends AsyncDisposable {
  /** `http://127.0.0.1:9464` */
  readonly origin: string;
}

/** Milliseconds a client may take to read the next piece. */
const PATIENCE = 30_000;

/** Rejects with PORT_IN_USE or EXPORT_FAILED and leaves nothing behind. */
export async function startWebServer(options: WebServerOptions): Promise<WebServer> {
  const web = options.web ?? OPEN;
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    handle(request, response, options, web).catch((error: unknown) => {
      options.onError(error);
      response.destroy();
    });
  };
  const server = web.tls ? tlsServer(web, handler) : createServer(handler);
  server.setTimeout(PATIENCE, (socket) => socket.destroy());
  await listen(server, options);
  // Such as no file descriptors left: this connection is lost, the next one may not be.
  server.on('error', options.onError);
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    origin: `${web.tls ? 'https' : 'http'}://${host}:${port}`,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

function tlsServer(
  web: WebConfig,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  try {
    return createTlsServer(web.tls ?? {}, handler);
  } catch (cause) {
    throw new MeshtapError('CONFIG_INVALID', 'tls_server_config: certificate and key can not be used', {
      cause,
    });
  }
}

function listen(server: Server, { host, port }: WebServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'EADDRINUSE'
          ? new MeshtapError('PORT_IN_USE', `${host}:${port} is in use`, {
              cause,
              hint: 'Stop what listens there or choose another port',
            })
          : new MeshtapError('EXPORT_FAILED', `can not listen on ${host}:${port}`, { cause }),
      );
    server.once('error', failed);
    server.listen({ host, port }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  { answer }: WebServerOptions,
  web: WebConfig,
): Promise<void> {
  // A client that goes away while it is answered is its own business.
  response.on('error', () => {});
  for (const [name, value] of Object.entries(web.headers)) response.setHeader(name, value!);
  const say: Say = (status, text, headers = {}) =>
    void response
      .writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers })
      .end(request.method === 'HEAD' ? undefined : `${text}\n`);

  if (web.tls && !web.admits(request.socket as TLSSocket)) return void request.socket.destroy();
  if (!(await web.authorized(request.headers.authorization)))
    return say(401, 'unauthorized', { 'www-authenticate': 'Basic realm="meshtap", charset="UTF-8"' });
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return say(405, 'only GET and HEAD', { allow: 'GET, HEAD' });
  await answer(request, response, say);
}

/** The weight a header gives to a value, 0 if it is not there (RFC 9110, section 12.4.2). */
export function accepts(header: string | undefined, value: string, version?: string): number {
  let best = 0;
  for (const item of header?.split(',') ?? []) {
    const [name, ...parameters] = item.split(';').map((part) => part.trim().toLowerCase());
    if (name !== value) continue;
    const parameter = (key: string) =>
      parameters.find((one) => one.startsWith(`${key}=`))?.slice(key.length + 1);
    if (version !== undefined && (parameter('version') ?? version) !== version) continue;
    best = Math.max(best, Number(parameter('q') ?? 1) || 0);
  }
  return best;
}
