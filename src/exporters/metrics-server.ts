/**
 * Serves an exposition over HTTP: `/metrics`, `/healthz`, `/readyz`. Collects first and writes after, so a failing
 * collection is a 500 and never half a page; writes in short bursts, so nothing else in the process waits long.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { constants, createGzip } from 'node:zlib';
import { explain } from '../errors.js';
import { CONTENT_TYPE, type Exposition, serialize, type TextFormat } from './text-format.js';
import { accepts, type Say, startWebServer, type WebServerOptions } from './web-server.js';

export interface MetricsServerOptions extends Omit<WebServerOptions, 'answer'> {
  /** Rejects if the collection failed; its message is shown to the client. */
  collect(): Promise<Exposition>;
  ready(): boolean;
  /** After each answer to /metrics. */
  onScrape?(scrape: { seconds: number; error?: unknown }): void;
  onConflict?(name: string): void;
}

export interface MetricsServer extends AsyncDisposable {
  /** `http://127.0.0.1:9464/metrics` */
  readonly address: string;
}

/** Milliseconds of writing before others get their turn. */
const BURST = 8;
/** Scrapes at a time; each holds a whole collection in memory until its client has read it. */
const SCRAPES = 16;

/** Rejects with PORT_IN_USE or EXPORT_FAILED and leaves nothing behind. */
export async function startMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  const scrapes = { running: 0 };
  const server = await startWebServer({
    ...options,
    answer: (request, response, say) => answer(request, response, options, say, scrapes),
  });
  return {
    address: `${server.origin}/metrics`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: MetricsServerOptions,
  say: Say,
  scrapes: { running: number },
): Promise<void> {
  switch (request.url?.replace(/\?.*/s, '')) {
    case '/metrics':
      if (scrapes.running >= SCRAPES) return say(503, 'too many scrapes at a time');
      scrapes.running++;
      await metrics(request, response, options, say).finally(() => scrapes.running--);
      return;
    case '/healthz':
      return say(200, 'ok');
    case '/readyz':
      return options.ready() ? say(200, 'ready') : say(503, 'not ready');
    default:
      return say(404, 'not found; try /metrics, /healthz or /readyz');
  }
}

async function metrics(
  request: IncomingMessage,
  response: ServerResponse,
  { collect, onScrape, onConflict }: MetricsServerOptions,
  say: Say,
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
