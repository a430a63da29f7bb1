/**
 * Two network namespaces and the cable between them, which can be made bad; a web server in the one, a client in the
 * other, each in a cgroup of its own below one that is watched.
 *
 * @module
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroupRoot } from './cgroup.js';
import { compileCable } from './fixtures.js';

const ends = ['client', 'server'] as const;
type End = (typeof ends)[number];

/** Their namespaces. */
const netns = { client: `meshtap-${process.pid}-client`, server: `meshtap-${process.pid}-server` };

export const SERVER = { host: '10.77.0.2', port: 8080 };

/** How often each `METHOD STATUS`, or `METHOD` alone, occurred. */
export type Tally = Record<string, number>;

/** What a cable of our own does to that many packets of a thousand; `delay` in microseconds, which overtaking ones have not. */
export interface Trouble {
  loss?: number;
  duplicates?: number;
  overtaking?: number;
  delay?: number;
}

/** What became of packets. */
export interface Brought {
  brought: number;
  lost: number;
  doubled: number;
  overtook: number;
}

/** What network-client-process.js prints. */
export interface ClientReport {
  complete: Tally;
  broken: Tally;
  unanswered: Tally;
  wrong: number;
}

function run(command: string): string {
  return execFileSync('sh', ['-c', command], { encoding: 'utf8' });
}

export class Network implements AsyncDisposable {
  /** The cgroup above both ends'. */
  readonly cgroup: string = join(cgroupRoot(), `meshtap-network-${process.pid}`);
  readonly #directory: string;
  #server: ChildProcess | undefined;
  /** test/fixtures/cable.c, if it is the cable. */
  #cable: { process: ChildProcess; answers: AsyncIterator<string> } | undefined;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** `veth`: a cable of the kernel's, for netem. `tun`: one of our own, for machines that have no netem, and worse. */
  static async create(cable: 'veth' | 'tun' = 'veth'): Promise<Network> {
    const network = new Network(await mkdtemp(join(tmpdir(), 'meshtap-network-')));
    for (const end of ends) {
      mkdirSync(join(network.cgroup, end), { recursive: true });
      run(`ip netns add ${netns[end]} && ip -n ${netns[end]} link set lo up`);
    }
    if (cable === 'tun') await network.#layCable();
    else run(`ip link add cable netns ${netns.client} type veth peer name cable netns ${netns.server}`);
    run(`ip -n ${netns.client} address add 10.77.0.1/24 dev cable`);
    run(`ip -n ${netns.server} address add 10.77.0.2/24 dev cable`);
    for (const end of ends) run(`ip -n ${netns[end]} link set cable up`);
    await network.#startServer();
    return network;
  }

  async #layCable(): Promise<void> {
    const process = spawn(compileCable(), [netns.client, netns.server], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const answers = createInterface(process.stdout!)[Symbol.asyncIterator]();
    this.#cable = { process, answers };
    const { value } = await answers.next();
    if (value !== 'ready') throw new Error('test/fixtures/cable.c made no cable; what it said stands above');
  }

  /** Sets what a cable of our own does to packets, and tells what became of those since the last time. */
  async disturb(trouble: Trouble = {}): Promise<Brought> {
    const { loss = 0, duplicates = 0, overtaking = 0, delay = 0 } = trouble;
    const { process, answers } = this.#cable!;
    process.stdin!.write(`${loss} ${duplicates} ${overtaking} ${delay}\n`);
    const { value } = await answers.next();
    const [brought, lost, doubled, overtook] = String(value).split(' ').map(Number);
    return { brought: brought!, lost: lost!, doubled: doubled!, overtook: overtook! };
  }

  /** Sets what netem does to packets that leave either end, such as `loss 1%`; nothing without arguments. */
  trouble(netem = ''): void {
    for (const end of ends) {
      run(`tc -n ${netns[end]} qdisc replace dev cable root netem limit 20000 ${netem}`);
    }
  }

  setMtu(bytes: number): void {
    for (const end of ends) run(`ip -n ${netns[end]} link set cable mtu ${bytes}`);
  }

  /** Segments leave as large as the MTU allows, as from a card without offload, or in bundles of up to 64 kB. */
  setBundles(on: boolean): void {
    for (const end of ends) run(`ip -n ${netns[end]} link set cable gso_max_segs ${on ? 65535 : 1}`);
  }

  /** How much either end lets the other send ahead, at most. */
  setWindow(bytes: number): void {
    for (const end of ends) {
      run(
        `ip netns exec ${netns[end]} sysctl -qw net.ipv4.tcp_rmem="4096 ${Math.min(bytes, 131_072)} ${bytes}"`,
      );
    }
  }

  /** Has the server's kernel reset every connection. */
  resetConnections(): void {
    run(`ip netns exec ${netns.server} ss --kill state established sport = :${SERVER.port}`);
  }

  /** Runs network-client-process.js to its end, and tells `onSent` at every hundredth request how many there were. */
  async send(
    options: { requests: number; connections: number; timeout?: number; abandon?: boolean },
    onSent?: (count: number) => void,
  ): Promise<ClientReport> {
    const script = join(import.meta.dirname, 'network-client-process.js');
    const child = this.#start('client', [
      process.execPath,
      script,
      JSON.stringify({ ...SERVER, ...options }),
    ]);
    const exited = once(child, 'exit');
    const complaints = text(child.stderr!);
    let last = '';
    for await (const line of createInterface(child.stdout!)) {
      if (/^\d+$/.test(line)) onSent?.(Number(line));
      last = line;
    }
    const [status] = await exited;
    if (status !== 0) throw new Error(`the client ended with ${status}: ${await complaints}`);
    return JSON.parse(last);
  }

  /**
   * Stops the server once it has ended what it was doing, and starts it again.
   *
   * @returns what it has answered since it was started, by its own log
   */
  async takeServerLog(): Promise<Tally> {
    await this.#stopServer();
    const log = join(this.#directory, 'access.log');
    const tally: Tally = {};
    for (const line of readFileSync(log, 'utf8').split('\n').filter(Boolean)) {
      const [method, status, bytes] = line.split(' ');
      const name = bytes === '0' ? method! : `${method} ${status}`;
      tally[name] = (tally[name] ?? 0) + 1;
    }
    rmSync(log);
    await this.#startServer();
    return tally;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stopServer();
    if (this.#cable) {
      const exited = once(this.#cable.process, 'exit');
      this.#cable.process.kill();
      await exited;
    }
    for (const end of ends) {
      run(`ip netns delete ${netns[end]}`);
      rmdirSync(join(this.cgroup, end));
    }
    rmdirSync(this.cgroup);
    rmSync(this.#directory, { recursive: true });
  }

  #start(end: End, command: string[]): ChildProcess {
    const script = 'echo $$ >"$0/cgroup.procs" && exec ip netns exec "$@"';
    return spawn('sh', ['-c', script, join(this.cgroup, end), netns[end], ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async #startServer(): Promise<void> {
    const directory = this.#directory;
    for (const bytes of [100, 10_000, 100_000, 1_000_000, 20_000_000]) {
      for (const kind of ['files', 'chunked']) {
        mkdirSync(join(directory, kind), { recursive: true });
        writeFileSync(join(directory, kind, String(bytes)), Buffer.alloc(bytes, 97));
      }
    }
    const configuration = join(directory, 'nginx.conf');
    writeFileSync(
      configuration,
      `user root; daemon off; worker_processes 1; error_log ${directory}/error.log; pid ${directory}/nginx.pid;
       events {}
       http {
         log_format tally '$request_method $status $bytes_sent';
         access_log ${directory}/access.log tally;
         client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
         fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
         sendfile on; keepalive_requests 100; default_type text/plain;
         send_timeout 5s; client_header_timeout 5s; client_body_timeout 5s; keepalive_timeout 60s;
         server {
           listen ${SERVER.host}:${SERVER.port};
           root ${directory};
           location /chunked/ { ssi on; ssi_types text/plain; }
           location /busy { return 503; }
           location /accept { client_max_body_size 2m; return 200 accepted; }
         }
       }`,
    );
    this.#server = this.#start('server', ['nginx', '-p', directory, '-c', configuration]);
    while (!(await this.#listens())) {
      if (this.#server.exitCode !== null) throw new Error(`nginx: ${await text(this.#server.stderr!)}`);
      await sleep(100);
    }
  }

  async #listens(): Promise<boolean> {
    return run(`ip netns exec ${netns.server} ss --no-header -ltn`).includes(`:${SERVER.port}`);
  }

  async #stopServer(): Promise<void> {
    const server = this.#server!;
    const exited = once(server, 'exit');
    server.kill('SIGQUIT');
    await exited;
  }
}
