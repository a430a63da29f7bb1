/**
 * Where a running agent tells how it is: JSON over HTTP on a unix socket, for root only.
 *
 * @module
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { dirname } from 'node:path';
import { json } from 'node:stream/consumers';
import type { AgentStatus } from '../agent.js';
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

/** Answers until it is disposed. `name` is taken from an agent that died; two living ones need two names. */
export async function serveStatus(name: string, status: () => Promise<Running>): Promise<AsyncDisposable> {
  const path = socketOf(name);
  await removeDead();
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const server = createServer((_, response) => {
    status().then(
      (running) => response.setHeader('content-type', 'application/json').end(JSON.stringify(running)),
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
  const answers = await Promise.allSettled(socketNames().map(ask));
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
}

/** An agent that was killed leaves its socket behind. */
async function removeDead(): Promise<void> {
  for (const name of socketNames())
    await ask(name).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNREFUSED') return;
      forget(flowsOf(name));
      forget(socketOf(name));
    });
}

function ask(name: string): Promise<Running> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: socketOf(name), path: '/status', timeout: 5_000 });
    asked.on('timeout', () => asked.destroy(new Error(`the agent ${name} does not answer`)));
    asked.on('error', reject);
    asked.on('response', (response) => {
      json(response).then((running) => resolve(running as Running), reject);
    });
    asked.end();
  });
}
