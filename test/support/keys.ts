/**
 * Many requests that differ: by port, method, status and version, or by the cgroup they come from.
 *
 * @module
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Scope } from './scope.js';

const fixture = (name: string) => join(import.meta.dirname, '../fixtures', name);

const firstLine = async (input: NodeJS.ReadableStream): Promise<string> =>
  (await createInterface(input)[Symbol.asyncIterator]().next()).value;

export interface KeyServer {
  readonly ports: number[];
  /** As the kernel does it for a process that crashes. */
  kill(): Promise<void>;
}

/** Where a server listens, or whom a client asks. */
export interface KeyPlace {
  /** @default 'server' or 'client' */
  service?: string;
  /** @default 127.0.0.1 */
  host?: string;
  netns?: string;
}

/** Starts a server on so many ports, or on that one. It ends with its scope. */
export async function serveKeys(
  scope: Scope,
  {
    service = 'server',
    host = '127.0.0.1',
    netns,
    ports = 1,
    port = 0,
  }: KeyPlace & { ports?: number; port?: number } = {},
): Promise<KeyServer> {
  const command = [process.execPath, fixture('keys.js'), 'serve', String(ports), host, String(port)];
  const child = scope.start(service, command, { netns, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  return {
    ports: JSON.parse(await firstLine(child.stdout!)),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Asks for each of these keys so many times; the number of answers. */
export async function askKeys(
  scope: Scope,
  keys: { ports: readonly number[]; from?: number; to?: number; times?: number },
  { service = 'client', host = '127.0.0.1', netns }: KeyPlace = {},
): Promise<number> {
  const plan = JSON.stringify({ from: 0, to: 1, ...keys });
  const command = [process.execPath, fixture('keys.js'), 'ask', plan, host];
  const { status, stdout, stderr } = await scope.run(service, command, { netns });
  if (status !== 0) throw new Error(stderr);
  return Number(stdout);
}

export interface Job {
  /** Of the cgroup, in the scope. */
  readonly name: string | Buffer;
  /** Each asks the server of `serveKeys` for /200. */
  readonly requests: readonly string[];
}

/**
 * Sends requests, for each job from a process of its own in a cgroup of its own, one after the other; the number of
 * right answers goes to `meanwhile`. The cgroups are there until that is done, or each only as long as its process.
 */
export async function sendFromCgroups<T>(
  scope: Scope,
  port: number,
  jobs: readonly Job[],
  until: 'removed afterwards' | 'removed at once',
  meanwhile: (right: number) => Promise<T>,
): Promise<T> {
  const plan = jobs.map(({ name, requests }) => ({
    name: Buffer.from(name as string).toString('hex'),
    requests: requests.map((request) => Buffer.from(request, 'latin1').toString('hex')),
  }));
  const mode = until === 'removed at once' ? 'remove' : 'keep';
  const command = ['python3', fixture('cgroups.py'), scope.path, String(port), mode];
  const child = scope.start('maker', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  child.stdin!.write(`${JSON.stringify(plan)}\n`);
  try {
    return await meanwhile(Number(await firstLine(child.stdout!)));
  } finally {
    child.stdin!.end();
    await ended;
  }
}
