/**
 * Where a running agent tells how it is: JSON over HTTP on a unix socket, for root only.
 *
 * @module
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { dirname } from 'node:path';
import { json, text } from 'node:stream/consumers';
import type { AgentStatus } from '../agent.js';
import type { WireMap } from '../exporters/page/wire.js';
import type { Share } from './footprint.js';
import { flowsOf, forget, socketNames, socketOf } from './runtime-files.js';

/** A running agent, as `meshtap status` shows it. */
export interface Running extends AgentStatus {
  readonly instance: string;
  readonly cgroup: string;
  readonly pinned: boolean;
  readonly version: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Resident, bytes. */
  readonly memory: number;
  /** Where the service map is, if it is. */
  readonly page?: string;
  /** What it may take, by limit. Absent of an agent that is older than this. */
  readonly shares?: readonly Share[];
}

/** What an agent is asked, by the path. */
export interface Answers {
  status(): Promise<Running>;
  /** Who calls whom; rates from the second question on. */
  map(): Promise<WireMap>;
}

/** Answers until it is disposed. `name` is taken from an agent that died; two living ones need two names. */
export async function serveStatus(name: string, answers: Answers): Promise<AsyncDisposable> {
  const path = socketOf(name);
  await removeDead();
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const server = createServer((request, response) => {
    const answer: Promise<Running | WireMap> = request.url === '/map' ? answers.map() : answers.status();
    answer.then(
      (told) => response.setHeader('content-type', 'application/json').end(JSON.stringify(told)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  chmodSync(path, 0o600);
  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
      forget(path);
    },
  };
}

/** Every agent that runs on this machine and answers. */
export async function runningAgents(): Promise<Running[]> {
  const answers = await everyAgent<Running>('status');
  return [...answers.values()];
}

/** The maps of all agents that run on this machine and answer, by name. */
export async function runningMaps(): Promise<ReadonlyMap<string, WireMap>> {
  const told = await everyAgent<Partial<WireMap>>('map');
  // An agent that is older than this tells its status, whatever it is asked.
  return new Map([...told].filter((one): one is [string, WireMap] => one[1].edges !== undefined));
}

async function everyAgent<T>(path: keyof Answers): Promise<Map<string, T>> {
  const names = socketNames();
  const answers = await Promise.allSettled(names.map((name) => ask(name, path)));
  return new Map(
    answers.flatMap((answer, i) => (answer.status === 'fulfilled' ? [[names[i]!, answer.value as T]] : [])),
  );
}

/** An agent that was killed leaves its socket behind. */
async function removeDead(): Promise<void> {
  for (const name of socketNames())
    await ask(name, 'status').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNREFUSED') return;
      forget(flowsOf(name));
      forget(socketOf(name));
    });
}

function ask(name: string, path: keyof Answers): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: socketOf(name), path: `/${path}`, timeout: 5_000 });
    asked.on('timeout', () => asked.destroy(new Error(`the agent ${name} does not answer`)));
    asked.on('error', reject);
    asked.on('response', (response) => {
      if (response.statusCode === 200) json(response).then(resolve, reject);
      else text(response).then((reason) => reject(new Error(reason)), reject);
    });
    asked.end();
  });
}
