/**
 * gRPC servers and clients of two implementations, which do as they are told.
 *
 * @module
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Scope } from './scope.js';

const FIXTURES = join(import.meta.dirname, '../fixtures/grpc');
const COMMANDS = {
  'grpc-js': (script: string) => [process.execPath, join(FIXTURES, `${script}.js`)],
  python: (script: string) => ['/usr/bin/python3', join(FIXTURES, `${script}.py`)],
} as const;

export type Implementation = keyof typeof COMMANDS;

/** Calls of one kind. */
export interface Calls {
  readonly method: 'Say' | 'Watch' | 'Collect' | 'Chat' | 'Nothing';
  readonly calls: number;
  /** The gRPC status code that the server is to answer. @default 0 */
  readonly code?: number;
  /** How long it takes, milliseconds. @default 0 */
  readonly after?: number;
  /** Messages each way that is a stream. @default 1 */
  readonly messages?: number;
  /** Milliseconds from now. */
  readonly deadline?: number;
  /** Cancelled after so many milliseconds; grpc-js only. */
  readonly cancel?: number;
}

/** Starts a server in the service `server`; it ends with the scope. Inside TLS, grpc-js only. Returns its address. */
export async function grpcServer(
  scope: Scope,
  implementation: Implementation,
  tls?: { readonly key: string; readonly certificate: string },
): Promise<string> {
  const command = [...COMMANDS[implementation]('server'), ...(tls ? [tls.key, tls.certificate] : [])];
  const child = scope.start('server', command, {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(createInterface(child.stdout!), 'line')) as [string];
  return `127.0.0.1:${port}`;
}

/** All calls at the same time, over one connection of the service `client`: how often each came to what. */
export async function grpcCalls(
  scope: Scope,
  implementation: Implementation,
  { address, plan }: { address: string; plan: readonly Calls[] },
): Promise<Record<string, number>> {
  const command = [...COMMANDS[implementation]('client'), address, JSON.stringify(plan)];
  const { status, stdout, stderr } = await scope.run('client', command);
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, number>;
}

/** The same inside TLS, by grpc-js, in a process that waits until it is told to begin. */
export function grpcTlsCalls(
  scope: Scope,
  { address, plan, certificate }: { address: string; plan: readonly Calls[]; certificate: string },
): { begin(): Promise<Record<string, number>> } {
  const command = [...COMMANDS['grpc-js']('client'), address, JSON.stringify(plan), certificate];
  const child = scope.start('client', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  return {
    begin: async () => {
      child.stdin!.write('begin\n');
      const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
      return JSON.parse(line) as Record<string, number>;
    },
  };
}
