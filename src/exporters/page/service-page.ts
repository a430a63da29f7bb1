/**
 * The service map as a page: static files, the map and one edge as JSON. Only reads; loads nothing from elsewhere.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { explain } from '../../errors.js';
import type { FlowHub } from '../../flows/hub.js';
import type { Snapshot } from '../../metrics/model.js';
import { loadWebConfig, OPEN } from '../web-config.js';
import { accepts, type Say, startWebServer } from '../web-server.js';
import { type Asset, loadAssets } from './assets.js';
import { EdgeWindow } from './edge-window.js';
import { detailsOf, mapOf } from './wire-of.js';

export interface ServicePageOptions {
  /** @default '127.0.0.1' */
  host?: string;
  /** 0 takes any free port. @default 9465 */
  port?: number;
  /** A file with the keys of Prometheus' own web configuration: TLS, basic auth. @default none */
  webConfigFile?: string | undefined;
  /** Whose map it is. An `Agent` is one. */
  agent: { snapshot(): Promise<Snapshot>; readonly flows: FlowHub };
  onError(error: unknown): void;
}

export interface ServicePage extends AsyncDisposable {
  /** `http://127.0.0.1:9465/` */
  readonly address: string;
}

/** Only what this server has, no frame around it, nothing sent to others. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

const zip = promisify(gzip);

/** Rejects with PORT_IN_USE, EXPORT_FAILED or CONFIG_INVALID and leaves nothing behind. */
export async function servePage({
  host = '127.0.0.1',
  port = 9465,
  webConfigFile,
  agent,
  onError,
}: ServicePageOptions): Promise<ServicePage> {
  const web = webConfigFile === undefined ? OPEN : loadWebConfig(webConfigFile);
  const assets = await loadAssets();
  const recent = new EdgeWindow(() => agent.snapshot());

  const json = async (path: string, query: URLSearchParams): Promise<object | undefined> => {
    if (path === '/map.json') return mapOf(await recent.view());
    const end = (which: string) => ({
      service: query.get(which) ?? '',
      namespace: query.get(`${which}Namespace`) ?? '',
    });
    return detailsOf(await recent.view(), end('source'), end('destination'), agent.flows);
  };

  const answer = async (request: IncomingMessage, response: ServerResponse, say: Say): Promise<void> => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (!web.guarded && !isOurs(request.headers.host, host))
      return say(421, 'ask by an address or as localhost, or let a password guard this page');
    const [path = '/', query] = (request.url ?? '/').split('?', 2);
    const asset = assets.get(path);
    if (asset) return send(request, response, asset, asset.zipped);
    if (path !== '/map.json' && path !== '/edge.json') return say(404, 'not found');
    try {
      const found = await json(path, new URLSearchParams(query));
      if (!found) return say(404, 'nothing was counted between these two');
      const body = Buffer.from(JSON.stringify(found));
      const zipped = await zip(body, { level: constants.Z_BEST_SPEED });
      send(request, response, { type: 'application/json', body }, zipped);
    } catch (error) {
      onError(error);
      say(503, `the counts can not be read: ${explain(error)}`);
    }
  };

  const server = await startWebServer({ host, port, web, answer, onError });
  return {
    address: `${server.origin}/`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/**
 * Whether a request can not come from a page of somebody else that had its own name point here (DNS rebinding): such a
 * request carries that name.
 */
function isOurs(header: string | undefined, host: string): boolean {
  const name = (header ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return isIP(name) !== 0 || name === 'localhost' || name === host;
}

function send(
  { method, headers }: IncomingMessage,
  response: ServerResponse,
  { type, body }: Pick<Asset, 'type' | 'body'>,
  zipped: Buffer,
): void {
  const zips = accepts(headers['accept-encoding'], 'gzip') > 0;
  const bytes = zips ? zipped : body;
  response.writeHead(200, {
    'content-type': type,
    'cache-control': 'no-cache',
    vary: 'Accept-Encoding',
    'content-length': bytes.length,
    ...(zips && { 'content-encoding': 'gzip' }),
  });
  response.end(method === 'HEAD' ? undefined : bytes);
}
