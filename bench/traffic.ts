import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cgroupMount } from '../src/identity/cgroup-mount.js';
import { freePort, inCgroup, listens } from './processes.js';

/** One way of asking nginx for something. */
export interface Shape {
  readonly name: string;
  readonly path: string;
  readonly headers?: readonly string[];
  /** Over HTTP/2, with so many streams open at a time on each of 8 connections. @default HTTP/1.1 */
  readonly streams?: number;
}

export const SHAPES: readonly Shape[] = [
  { name: 'small answers on kept connections', path: '/small' },
  { name: '100 kB answers on kept connections', path: '/100k' },
  { name: 'small answers over HTTP/2, 10 streams', path: '/small', streams: 10 },
  { name: 'a connection per request', path: '/small', headers: ['Connection: close'] },
];

/** What one round of load came to. */
export interface Round {
  readonly requests: number;
  /** Requests per second. */
  readonly rate: number;
  /** Of the latency, milliseconds. */
  readonly p99: number;
}

const CONNECTIONS = 32;
const run = promisify(execFile);

/** nginx with one worker and a place for wrk, in cgroups of their own below `cgroup`. */
export class Traffic implements AsyncDisposable {
  readonly cgroup = join(cgroupMount(), `meshtap-bench-${process.pid}`);
  readonly #server = join(this.cgroup, 'server');
  readonly #client = join(this.cgroup, 'client');
  readonly #directory = mkdtempSync(join(tmpdir(), 'meshtap-bench-'));
  readonly #signal: AbortSignal;
  #nginx: ChildProcess | undefined;
  #port = 0;
  #http2Port = 0;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  static async start(signal: AbortSignal): Promise<Traffic> {
    const traffic = new Traffic(signal);
    try {
      await traffic.#start();
      return traffic;
    } catch (error) {
      await traffic[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(): Promise<void> {
    for (const path of [this.cgroup, this.#server, this.#client]) mkdirSync(path);
    this.#port = await freePort();
    this.#http2Port = await freePort();
    writeFileSync(join(this.#directory, '100k'), Buffer.alloc(100_000, 'x'));
    const file = join(this.#directory, 'nginx.conf');
    writeFileSync(file, configuration(this.#directory, this.#port, this.#http2Port));
    this.#nginx = spawn(...inCgroup(this.#server, 'nginx', '-c', file, '-e', 'stderr'), {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    if (!(await listens(`http://127.0.0.1:${this.#port}/small`))) throw new Error('nginx does not answer');
  }

  /** Where nginx speaks HTTP/1. */
  get port(): number {
    return this.#port;
  }

  /**
   * As many requests as there is time for, one after the other on each of 32 connections; by way of another port, if
   * given.
   */
  async load({ path, headers = [], streams }: Shape, seconds: number, port = this.#port): Promise<Round> {
    if (streams !== undefined) return this.#loadStreams(path, streams, seconds);
    const flags = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency'];
    const extra = headers.flatMap((header) => ['-H', header]);
    const url = `http://127.0.0.1:${port}${path}`;
    const [command, options] = inCgroup(this.#client, 'wrk', ...flags, ...extra, url);
    const { stdout } = await run(command, options, { signal: this.#signal });
    const [, requests] = /(\d+) requests in/.exec(stdout) ?? [];
    const [, rate] = /Requests\/sec:\s+([\d.]+)/.exec(stdout) ?? [];
    const [, p99, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout) ?? [];
    if (!requests || !rate || !p99 || /Non-2xx|Socket errors/.test(stdout))
      throw new Error(`wrk did not get what it asked for:\n${stdout}`);
    return { requests: Number(requests), rate: Number(rate), p99: Number(p99) * MILLISECONDS[unit!]! };
  }

  async #loadStreams(path: string, streams: number, seconds: number): Promise<Round> {
    const log = join(this.#directory, 'h2load.log');
    const flags = ['-t1', '-c8', `-m${streams}`, `-D${seconds}`, `--log-file=${log}`];
    const url = `http://127.0.0.1:${this.#http2Port}${path}`;
    const [command, options] = inCgroup(this.#client, 'h2load', ...flags, url);
    const { stdout } = await run(command, options, { signal: this.#signal });
    const [, rate] = /([\d.]+) req\/s/.exec(stdout) ?? [];
    // A line per request: when it began, its status, how many microseconds it took.
    const latencies = readFileSync(log, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => Number(line.split('\t')[2]));
    rmSync(log);
    if (!rate || latencies.length < 2 || !/ 0 failed, 0 errored, 0 timeout/.test(stdout))
      throw new Error(`h2load did not get what it asked for:\n${stdout}`);
    latencies.sort((a, b) => a - b);
    const p99 = latencies[Math.floor(latencies.length * 0.99)]! / 1000;
    return { requests: latencies.length, rate: Number(rate), p99 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#nginx?.exitCode === null && this.#nginx.kill('SIGTERM')) await once(this.#nginx, 'exit');
    rmSync(this.#directory, { recursive: true, force: true });
    for (const path of [this.#server, this.#client, this.cgroup]) rmdirSync(path);
  }
}

const MILLISECONDS: Record<string, number> = { us: 1e-3, ms: 1, s: 1e3 };

const configuration = (directory: string, port: number, http2Port: number) => `
daemon off;
user root;
worker_processes 1;
pid ${directory}/pid;
error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  server {
    listen 127.0.0.1:${port} reuseport;
    listen 127.0.0.1:${http2Port} reuseport http2;
    root ${directory};
    location = /small { return 200 "a small answer, as from a health check or a look into a cache\\n"; }
    location /details/ { return 200 "details\\n"; }
  }
}
`;
