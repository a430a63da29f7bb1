/**
 * A real TLS server without HTTP (openssl s_server, which answers a line with the same line reversed), real clients,
 * and a certificate for either.
 *
 * @module
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Scope } from './scope.js';

export type TlsVersion = '1.2' | '1.3';

const flag = (version: TlsVersion) => `-tls${version.replace('.', '_')}`;

/** A key and a certificate of 127.0.0.1, as files. */
export class Certificate implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'meshtap-tls-'));
  readonly key = join(this.directory, 'key.pem');
  readonly certificate = join(this.directory, 'certificate.pem');

  constructor() {
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', this.key];
    execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, ...subject, '-out', this.certificate], {
      stdio: 'pipe',
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true });
  }
}

/** `openssl s_server` in the service `server`. It ends with its scope. */
export class TlsServer {
  readonly port: number;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(
    scope: Scope,
    { key, certificate }: Certificate,
    version: TlsVersion,
  ): Promise<TlsServer> {
    const command = ['openssl', 's_server', '-accept', '127.0.0.1:0', '-key', key, '-cert', certificate];
    const child = scope.start('server', [...command, flag(version), '-rev'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    for await (const line of createInterface({ input: child.stdout! })) {
      const port = /^ACCEPT .*:(\d+)$/.exec(line)?.[1];
      if (port) {
        child.stdout!.resume();
        return new TlsServer(Number(port));
      }
    }
    throw new Error('openssl s_server ended before it listened');
  }
}

/** `openssl s_client` in the service `client`, on one connection. */
export class TlsClient {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterableIterator<string>;
  readonly #closed: Promise<unknown>;

  constructor(scope: Scope, { port }: TlsServer, version: TlsVersion, more: readonly string[] = []) {
    const command = ['openssl', 's_client', '-connect', `127.0.0.1:${port}`, flag(version), ...more];
    this.#child = scope.start('client', command, { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** Sends a line and waits for it to come back. Resolves with all that was printed meanwhile. */
  async exchange(text: string): Promise<string[]> {
    this.#child.stdin!.write(`${text}\n`);
    const expected = [...text].reverse().join('');
    const seen: string[] = [];
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`openssl s_client ended: ${seen.join('\n')}`);
      seen.push(value);
      if (value === expected) return seen;
    }
  }

  async hangUp(): Promise<void> {
    this.#child.stdin!.end();
    await this.#closed;
  }
}

/**
 * Python's HTTPS client in a service, on one connection: with a socket, or with TLS that reads from memory, and then on so
 * many connections at the same time.
 */
export class PythonClient {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterableIterator<string>;
  readonly #closed: Promise<unknown>;

  constructor(
    scope: Scope,
    port: number,
    kind: 'sync' | 'asyncio',
    {
      connections = 1,
      libraries,
    }: {
      connections?: number /** Directory of shared libraries that come first. */;
      libraries?: string;
    } = {},
  ) {
    const script = join(import.meta.dirname, '../fixtures/https-client.py');
    const environment = libraries === undefined ? [] : ['env', `LD_LIBRARY_PATH=${libraries}`];
    const command = [...environment, 'python3', script, String(port), kind, String(connections)];
    this.#child = scope.start('client', command, {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** The status of the answer (of all answers, if there are several connections), or `closed`. */
  async ask(path: string): Promise<string> {
    this.#child.stdin!.write(`${path}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the client ended');
    return value;
  }

  /** It closes its connection and ends. */
  async hangUp(): Promise<void> {
    this.#child.stdin!.end();
    await this.#closed;
  }
}

/** Numbers by `GET 200`. */
export type Tally = Record<string, number>;

interface NodeServerPlan {
  readonly certificate: Certificate;
  readonly http2?: boolean;
}

export interface NodeClientPlan {
  /** Where the connections lead to, in turn. @default the server in the same process */
  readonly ports?: readonly number[];
  readonly requests: number;
  readonly connections: number;
  readonly http2?: boolean;
  readonly paths: readonly string[];
}

/** HTTPS or HTTP/2 in Node, which reads TLS from memory: a server, a client, or both in one process. */
export class NodeHttps {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterableIterator<string>;
  readonly #closed: Promise<unknown>;
  #port = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = new Promise((resolve) => child.once('close', resolve));
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(
    scope: Scope,
    service: string,
    { serve, ask, node = process.execPath }: { serve?: NodeServerPlan; ask?: NodeClientPlan; node?: string },
  ): Promise<NodeHttps> {
    const plan = {
      ask,
      ...(serve && {
        serve: { key: serve.certificate.key, cert: serve.certificate.certificate, http2: serve.http2 },
      }),
    };
    const script = join(import.meta.dirname, '../fixtures/https-node.js');
    const one = new NodeHttps(
      scope.start(service, [node, script, JSON.stringify(plan)], { stdio: ['pipe', 'pipe', 'inherit'] }),
    );
    one.#port = Number(await one.#next());
    return one;
  }

  /** Of the server. */
  get port(): number {
    return this.#port;
  }

  /** All requests of the plan; resolves with what they came to, for each port. */
  async ask(): Promise<Tally[]> {
    return (await this.#order('ask')) as Tally[];
  }

  /** What the server answered since this was last asked. */
  async takeTally(): Promise<Tally> {
    return (await this.#order('tally')) as Tally;
  }

  /** Closes the client's connections. */
  async hangUp(): Promise<void> {
    await this.#order('hang up');
  }

  async end(): Promise<void> {
    this.#child.stdin!.end();
    await this.#closed;
  }

  #order(line: string): Promise<unknown> {
    this.#child.stdin!.write(`${line}\n`);
    return this.#next();
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('Node ended');
    return JSON.parse(value);
  }
}

/** h2load, which waits for its URLs, and then asks for them in turn, `requests` times in all. */
export class TlsLoad {
  readonly #child: ChildProcess;
  readonly #closed: Promise<number | null>;

  constructor(
    scope: Scope,
    { requests, connections, http2 }: { requests: number; connections: number; http2: boolean },
  ) {
    const shape = ['-n', String(requests), '-c', String(connections), ...(http2 ? ['-m', '5'] : ['--h1'])];
    this.#child = scope.start('client', ['h2load', ...shape, '-i', '-'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#closed = new Promise((resolve) => this.#child.once('close', resolve));
  }

  async run(urls: readonly string[]): Promise<void> {
    this.#child.stdin!.end(`${urls.join('\n')}\n`);
    const status = await this.#closed;
    if (status !== 0) throw new Error(`h2load ended with ${status}`);
  }
}

const COMMANDS = {
  /** OpenSSL, with its own way to the socket. */
  curl: ['curl', '-sS', '--noproxy', '*', '--insecure', '--config', '-'],
  /** GnuTLS. */
  wget: ['wget', '-q', '--no-proxy', '--no-check-certificate', '--output-document', '/dev/null', '-i', '-'],
};

/** A command that waits for its URLs, and then asks for one after the other. */
export class UrlClient {
  readonly #child: ChildProcess;
  readonly #lineOf: (url: string) => string;
  readonly #closed: Promise<unknown>;

  constructor(scope: Scope, command: keyof typeof COMMANDS) {
    this.#lineOf = command === 'curl' ? (url) => `url = "${url}"\noutput = "/dev/null"` : (url) => url;
    this.#child = scope.start('client', COMMANDS[command], { stdio: ['pipe', 'ignore', 'inherit'] });
    this.#closed = new Promise((resolve) => this.#child.once('close', resolve));
  }

  async run(urls: readonly string[]): Promise<void> {
    this.#child.stdin!.end(urls.map((url) => `${this.#lineOf(url)}\n`).join(''));
    await this.#closed;
  }
}

/** Hands TLS on unread, in a service, to a port. Resolves with the port to connect to. It ends with its scope. */
export async function relay(scope: Scope, service: string, port: number): Promise<number> {
  const script = join(import.meta.dirname, '../fixtures/relay.js');
  const child = scope.start(service, [process.execPath, script, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout! })) {
    child.stdout!.resume();
    return Number(line);
  }
  throw new Error('the relay ended before it listened');
}
