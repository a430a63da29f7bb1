import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** The command and its arguments, for a process that is in the cgroup before it does anything. */
export function inCgroup(cgroup: string, ...command: string[]): [string, string[]] {
  return ['sh', ['-c', 'echo $$ > "$0/cgroup.procs"; exec "$@"', cgroup, ...command]];
}

/** A port of 127.0.0.1 that nobody listens at. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Waits for an answer with 200, at most ten seconds. */
export async function listens(url: string): Promise<boolean> {
  for (let attempt = 0; attempt < 500; attempt++) {
    try {
      if ((await fetch(url)).ok) return true;
    } catch {}
    await sleep(20);
  }
  return false;
}
