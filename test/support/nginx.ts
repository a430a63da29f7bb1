/**
 * A real web server whose access log is the truth about what it answered.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Scope } from './scope.js';

/** Bytes of `/files/large`, more than any socket buffer. */
export const LARGE = 20_000_000;

export interface NginxOptions {
  /** @default 'server' */
  service?: string;
  /** @default 127.0.0.1 and ::1 */
  hosts?: readonly string[];
  netns?: string;
  /** Speak HTTP/2, and nothing else. @default false */
  http2?: boolean;
  /** Speak it inside TLS. @default plain text */
  tls?: { readonly key: string; readonly certificate: string };
  /** The one version of TLS that it speaks. @default 1.2 and 1.3 */
  only?: '1.2' | '1.3';
  /** What a line of its log says. @default '$request_method $status' */
  log?: string;
  /** Where `/proxy/` leads to, over a connection for each request. @default nowhere */
  upstream?: string;
}

/**
 * `/ok` answers 200, `/missing` 404, `/busy` 503, each with a few bytes; `/nothing` closes; `/files/small` and `/files/large` come from
 * disk; `/slow/large` the same at 10 MB/s; `/upload` takes up to 1 MB and answers 413 to more;
 * `/proxy/ok` and the like are asked of another server.
 */
export class Nginx {
  readonly port: number;
  readonly #log: string;
  readonly #directory: string;

  private constructor(directory: string, port: number) {
    this.#directory = directory;
    this.#log = join(directory, 'access.log');
    this.port = port;
  }

  /** It ends with its scope. */
  static async start(scope: Scope, options: NginxOptions = {}): Promise<Nginx> {
    const { service = 'server', hosts = ['127.0.0.1', '[::1]'], netns, http2, tls, only, upstream } = options;
    const { log = '$request_method $status' } = options;
    const nginx = new Nginx(mkdtempSync(join(tmpdir(), 'meshtap-nginx-')), await freePort());
    const directory = nginx.#directory;
    mkdirSync(join(directory, 'files'));
    writeFileSync(join(directory, 'files/small'), 'small');
    writeFileSync(join(directory, 'files/large'), Buffer.alloc(LARGE, 'x'));
    writeFileSync(
      join(directory, 'nginx.conf'),
      `user root; daemon off; worker_processes 2; error_log ${directory}/error.log; pid ${directory}/pid;
       events { worker_connections 2048; }
       http {
         log_format tally '${log}'; access_log ${nginx.#log} tally;
         client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
         fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
         sendfile on; keepalive_requests 1000000; default_type text/plain;
         server {
           ${hosts.map((host) => `listen ${host}:${nginx.port}${tls ? ' ssl' : ''}${http2 ? ' http2' : ''};`).join(' ')}
           ${tls ? `ssl_certificate ${tls.certificate}; ssl_certificate_key ${tls.key}; ssl_protocols ${only ? `TLSv${only}` : 'TLSv1.2 TLSv1.3'};` : ''}
           root ${directory};
           location /ok { return 200 fine; }
           location /missing { return 404 missing; }
           location /busy { return 503 busy; }
           location /nothing { return 444; }
           location /slow/ { alias ${directory}/files/; limit_rate 10m; }
           ${upstream === undefined ? '' : `location /proxy/ { proxy_pass ${upstream}/; }`}
           location /upload { client_max_body_size 1m; proxy_pass http://127.0.0.1:1/; }
         }
       }`,
    );
    const child = scope.start(service, ['nginx', '-p', directory, '-c', join(directory, 'nginx.conf')], {
      netns,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let ended = false;
    child.once('exit', () => {
      ended = true;
    });
    // It writes its pid when it listens. A connection would be counted.
    while (readOr(join(directory, 'pid'), '') === '') {
      if (ended) throw new Error(`nginx: ${await text(child.stderr!)}`);
      await sleep(20);
    }
    child.stderr!.resume();
    return nginx;
  }

  url(path = '', host = '127.0.0.1'): string {
    return `http://${host}:${this.port}${path}`;
  }

  /** Where one of its files lies, such as `files/large`. */
  file(name: string): string {
    return join(this.#directory, name);
  }

  /** How often each `GET 200` is in its log since this was last asked. */
  takeLog(): Record<string, number> {
    const tally: Record<string, number> = {};
    for (const line of readOr(this.#log, '').split('\n').filter(Boolean))
      tally[line] = (tally[line] ?? 0) + 1;
    truncateSync(this.#log);
    return tally;
  }

  /** It needs them no more once it has started and there is no more traffic. */
  removeFiles(): void {
    rmSync(this.#directory, { recursive: true });
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

/** One that nobody listens at now, on any address. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '::');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
