import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import type { Question, Resolver } from '../../src/identity/identity.js';
import { local } from '../../src/identity/local.js';
import { testResolver } from '../contract/resolver.js';
import { cgroupRoot, makeCgroup } from '../support/cgroup.js';

testResolver('local', { create: () => local() });

const ask = (address: string, port: number): Question => ({
  endpoint: { kind: 'address', address },
  role: 'server',
  port,
});

async function started(options = {}): Promise<Resolver> {
  const resolver = local(options);
  await resolver.start(new AbortController().signal);
  onTestFinished(() => resolver[Symbol.asyncDispose]());
  return resolver;
}

/** A process in that cgroup that listens; its port. Ends with the test. */
async function listener(
  cgroup: string,
  host: string,
  { port = 0, prefix = '', moveTo = '' } = {},
): Promise<number> {
  const server = `
    const server = require('net').createServer().listen(${port}, '${host}', () => console.log(server.address().port));
    process.stdin.resume().on('end', () => process.exit());`;
  const script = `echo $$ > ${cgroup}/cgroup.procs && exec ${prefix} "$0" -e "$1"`;
  const child: ChildProcess = spawn('sh', ['-c', script, process.execPath, server], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // Before the cgroup is removed.
  onTestFinished(async () => {
    child.stdin!.end();
    if (child.exitCode === null) await once(child, 'close');
  });
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
  if (moveTo) writeFileSync(join(moveTo, 'cgroup.procs'), String(child.pid));
  return Number(line);
}

test.each(['127.0.0.1', '0.0.0.0', '::', '::1'])('who listens at %s is found on loopback', async (host) => {
  const { path } = makeCgroup('local');
  const port = await listener(path, host);
  const resolver = await started();
  const loopback = host.includes(':') ? '::1' : '127.0.0.1';
  const service = basename(path);
  expect(resolver.resolve(ask(loopback, port))).toMatchObject({ service, watched: false });
  expect(resolver.resolve(ask(loopback, port === 1 ? 2 : 1))).toBeUndefined();
  if (host === '127.0.0.1') expect(resolver.resolve(ask('127.0.0.2', port))).toBeUndefined();
  if (host === '0.0.0.0') expect(resolver.resolve(ask('::1', port))).toBeUndefined();
});

test('and at an address of this machine, but at no other', async () => {
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal);
  const { path } = makeCgroup('local');
  const port = await listener(path, '0.0.0.0');
  const resolver = await started();
  if (own) expect(resolver.resolve(ask(own.address, port))?.service).toBe(basename(path));
  expect(resolver.resolve(ask('203.0.113.9', port))).toBeUndefined();
});

test('who listens in the watched cgroup is watched', async () => {
  const { path } = makeCgroup('local');
  const port = await listener(path, '127.0.0.1');
  const resolver = await started({ watched: path });
  expect(resolver.resolve(ask('127.0.0.1', port))?.watched).toBe(true);
});

test('the port of another namespace makes loopback uncertain', async () => {
  const [one, two] = [makeCgroup('local-one'), makeCgroup('local-two')];
  const port = await listener(one.path, '0.0.0.0');
  await listener(two.path, '0.0.0.0', { port, prefix: 'unshare --net' });
  const resolver = await started();
  expect(resolver.resolve(ask('127.0.0.1', port))).toBeUndefined();
});

test('a socket of the cgroup of process 1 is the one who holds the listener, not who opened it', async () => {
  const [, init = ''] = /^0::(.*)$/m.exec(readFileSync('/proc/1/cgroup', 'utf8')) ?? [];
  const directory = join(cgroupRoot(), init);
  const { path } = makeCgroup('local-activated');
  // Opened there, moved afterwards: the socket stays what it was.
  const port = await listener(directory, '127.0.0.1', { moveTo: path });
  const resolver = await started();
  const endpoint = { kind: 'cgroup', cgroup: statSync(directory, { bigint: true }).ino } as const;
  expect(resolver.resolve({ endpoint, role: 'server', port })).toMatchObject({
    service: basename(path),
    watched: true,
  });
  expect(resolver.resolve({ endpoint, role: 'server', port: 1 })).toBeUndefined();
  expect(resolver.resolve({ endpoint, role: 'client', port: undefined })).toBeUndefined();
  const other = { kind: 'cgroup', cgroup: statSync(path, { bigint: true }).ino } as const;
  expect(resolver.resolve({ endpoint: other, role: 'server', port })).toBeUndefined();
});

test('a client is not looked for', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const resolver = await started();
  const endpoint = { kind: 'address', address: '127.0.0.1' } as const;
  expect(resolver.resolve({ endpoint, role: 'client', port: undefined })).toBeUndefined();
});
