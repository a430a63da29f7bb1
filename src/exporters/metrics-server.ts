/**
 * Serves an exposition over HTTP: `/metrics`, `/healthz`, `/readyz`. Collects first and writes after, so a failing
 * collection is a 500 and never half a page; writes in short bursts, so nothing else in the process waits long.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { constants, createGzip } from 'node:zlib';
import { explain, MeshtapError } from '../errors.js';
import { CONTENT_TYPE, type Exposition, serialize, type TextFormat } from './text-format.js';
import { OPEN, type WebConfig } from './web-config.js';

export interface MetricsServerOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  web?: WebConfig;
  /** Rejects if the collection failed; its message is shown to the client. */
  collect(): Promise<Exposition>;
  ready(): boolean;
  /** After each answer to /metrics. */
  onScrape?(scrape: { seconds: number; error?: unknown }): void;
  onConflict?(name: string): void;
  /** What no client can be told. */
  onError(error: unknown): void;
}

export interface MetricsServer extends AsyncDisposable {
  /** `http://127.0.0.1:9464/metrics` */
  readonly address: string;
}

/** Milliseconds of writing before others get their turn. */
const BURST = 8;
/** Scrapes at a time; each holds a whole collection in memory until its client has read it. */
const SCRAPES = 16;
/** Milliseconds a client may take to read the next piece. */
const PATIENCE = 30_000;

/** Rejects with PORT_IN_USE or EXPORT_FAILED and leaves nothing behind. */
export async function startMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  const web = options.web ?? OPEN;
  const scrapes = { running: 0 };
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    handle(request, response, options, web, scrapes).catch((error: unknown) => {
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
    address: `${web.tls ? 'https' : 'http'}://${host}:${port}/metrics`,
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

function listen(server: Server, { host, port }: MetricsServerOptions): Promise<void> {
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
  options: MetricsServerOptions,
  web: WebConfig,
  scrapes: { running: number },
): Promise<void> {
  // A client that goes away while it is answered is its own business.
  response.on('error', () => {});
  for (const [name, value] of Object.entries(web.headers)) response.setHeader(name, value!);
  const say = (status: number, text: string, headers: Record<string, string> = {}) =>
    response
      .writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers })
      .end(request.method === 'HEAD' ? undefined : `${text}\n`);

  if (web.tls && !web.admits(request.socket as TLSSocket)) return void request.socket.destroy();
  if (!(await web.authorized(request.headers.authorization)))
    return void say(401, 'unauthorized', { 'www-authenticate': 'Basic realm="meshtap", charset="UTF-8"' });
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return void say(405, 'only GET and HEAD', { allow: 'GET, HEAD' });

  switch (request.url?.replace(/\?.*/s, '')) {
    case '/metrics':
      if (scrapes.running >= SCRAPES) return void say(503, 'too many scrapes at a time');
      scrapes.running++;
      await metrics(request, response, options, say).finally(() => scrapes.running--);
      return;
    case '/healthz':
      return void say(200, 'ok');
    case '/readyz':
      return void (options.ready() ? say(200, 'ready') : say(503, 'not ready'));
    default:
      return void say(404, 'not found; try /metrics, /healthz or /readyz');
  }
}

async function metrics(
  request: IncomingMessage,
  response: ServerResponse,
  { collect, onScrape, onConflict }: MetricsServerOptions,
  say: (status: number, text: string) => unknown,
): Promise<void> {
  const start = performance.now();
  const finished = (error?: unknown) =>
    onScrape?.({ seconds: (performance.now() - start) / 1000, ...(error !== undefined && { error }) });

  let exposition: Exposition;
  try {
    exposition = await collect();
  } catch (error) {
    say(500, `collection failed: ${explain(error)}`);
    return finished(error);
  }

  const format = negotiated(request.headers.accept);
  const zip = accepts(request.headers['accept-encoding'], 'gzip') > 0;
  response.writeHead(200, {
    'content-type': CONTENT_TYPE[format],
    vary: 'Accept, Accept-Encoding',
    ...(zip && { 'content-encoding': 'gzip' }),
  });
  if (request.method === 'HEAD') {
    response.end();
    return finished();
  }
  const text = Readable.from(paced(serialize(exposition, { format, ...(onConflict && { onConflict }) })), {
    objectMode: false,
  });
  try {
    // Level 1: within a few percent of level 6 on text so repetitive, at a third of the time.
    await (zip
      ? pipeline(text, createGzip({ level: constants.Z_BEST_SPEED }), response)
      : pipeline(text, response));
    finished();
  } catch (error) {
    finished(error);
  }
}

async function* paced(pieces: Iterable<string>): AsyncGenerator<Buffer> {
  let since = performance.now();
  for (const piece of pieces) {
    yield Buffer.from(piece);
    if (performance.now() - since < BURST) continue;
    await setImmediate();
    since = performance.now();
  }
}

function negotiated(accept: string | undefined): TextFormat {
  const openmetrics = accepts(accept, 'application/openmetrics-text', '1.0.0');
  const text = Math.max(...['text/plain', 'text/*', '*/*'].map((type) => accepts(accept, type)));
  return openmetrics > 0 && openmetrics >= text ? 'openmetrics' : 'text';
}

/** The weight a header gives to a value, 0 if it is not there (RFC 9110, section 12.4.2). */
function accepts(header: string | undefined, value: string, version?: string): number {
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
