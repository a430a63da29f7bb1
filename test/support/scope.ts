/**
 * A cgroup of the test's own with one child for each service: what the agent is attached to, and the only place
 * where traffic is made.
 *
 * @module
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroupRoot } from './cgroup.js';
import { inNamespace } from './netns.js';

export interface Output {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartOptions extends Pick<SpawnOptions, 'stdio' | 'serialization'> {
  /** The network namespace to start it in. @default this process's */
  netns?: string | undefined;
}

export class Scope implements AsyncDisposable {
  static #made = 0;
  readonly path: string;

  constructor(name: string) {
    this.path = join(cgroupRoot(), `meshtap-${name}-${process.pid}-${Scope.#made++}`);
    mkdirSync(this.path);
  }

  /** The directory of a service's cgroup, made when it is first asked for. */
  service(name: string): string {
    const path = join(this.path, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Starts a command that is in the service's cgroup before its first instruction, so before it opens a socket. */
  start(service: string, command: readonly string[], { netns, ...options }: StartOptions = {}): ChildProcess {
    const script = 'echo $$ >"$0/cgroup.procs" && exec "$@"';
    return spawn('sh', ['-c', script, this.service(service), ...inNamespace(netns, command)], options);
  }

  /** Runs a command to its end. */
  async run(service: string, command: readonly string[], options: StartOptions = {}): Promise<Output> {
    const child = this.start(service, command, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout!),
      text(child.stderr!),
      once(child, 'close'),
    ]);
    return { status, stdout, stderr };
  }

  /** Ends whatever still runs in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt++) {
      if (removeTree(this.path)) return;
      await sleep(20); // a process that is ended takes a moment to leave
    }
    throw new Error(`${this.path} can not be removed: some process is still in it`);
  }
}

function removeTree(path: string): boolean {
  const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const empty = children.map(({ name }) => removeTree(join(path, name))).every(Boolean);
  for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // gone by itself
    }
  }
  if (!empty) return false;
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}
