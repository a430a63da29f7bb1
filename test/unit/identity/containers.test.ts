import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { containers } from '../../../src/identity/containers.js';
import type { Question } from '../../../src/identity/identity.js';
import { temporaryDirectory } from '../../support/bpf.js';

const ids = Array.from({ length: 16 }, (_, digit) => digit.toString(16).repeat(64));

/** Cgroups 0 to 15 are containers; they are told of when the test says so. */
function tree() {
  const listeners = new Set<(path: string) => void>();
  const pathOf = (id: bigint) => (id < 16n ? `/system.slice/docker-${ids[Number(id)]}.scope` : undefined);
  return {
    pathOf,
    onAdded: (listener: (path: string) => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    add: (id: bigint) => {
      for (const listener of listeners) listener(pathOf(id)!);
    },
  };
}

const inside = (cgroup: bigint): Question => ({
  endpoint: { kind: 'cgroup', cgroup },
  role: 'client',
  port: undefined,
});

/** An engine that answers as Docker does; the real ones are in test/kernel/containers.test.ts. */
async function engine(
  socket: string,
  known: Record<string, { Name: string; Config: { Image: string; Labels: Record<string, string> | null } }>,
) {
  const asked: string[] = [];
  const state = { status: 200 };
  const server = createServer((request, response) => {
    const id = /^\/containers\/([0-9a-f]{64})\/json$/.exec(request.url ?? '')?.[1] ?? '';
    asked.push(id);
    const status = state.status === 200 && !known[id] ? 404 : state.status;
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(known[id] ?? {}));
  }).listen(socket);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return { asked, state };
}

async function until(check: () => unknown): Promise<void> {
  for (const end = Date.now() + 50_000; !check(); await sleep(5))
    if (Date.now() > end) throw new Error('never');
}

async function started(socket: string) {
  const cgroups = tree();
  const resolver = containers({ cgroups, sockets: [`docker:${socket}`] });
  onTestFinished(() => resolver[Symbol.asyncDispose]());
  await resolver.start(new AbortController().signal);
  return { cgroups, resolver };
}

const named = (Name: string, Labels: Record<string, string> | null = null) => ({
  Name,
  Config: { Image: 'nginx:1.25', Labels },
});

test('each container is asked for once, when it appears, and has its name from then on', async () => {
  const socket = join(temporaryDirectory(), 'docker.sock');
  const compose = (kind: string) => ({ [`${kind}.project`]: 'shop', [`${kind}.service`]: 'web' });
  const { asked } = await engine(socket, {
    [ids[1]!]: named('/shop-web-1', compose('com.docker.compose')),
    [ids[2]!]: named('/shop_web_1', compose('io.podman.compose')),
    [ids[3]!]: named('/alone', { 'org.opencontainers.image.version': '1.2' }),
  });
  const { cgroups, resolver } = await started(socket);
  const before = resolver.revision?.();
  for (const id of [1n, 2n, 3n]) cgroups.add(id);
  await until(() => resolver.resolve(inside(3n)));
  expect(resolver.revision?.()).not.toBe(before);
  const web = {
    service: 'web',
    namespace: 'shop',
    workload: 'web',
    labels: { image: 'nginx:1.25' },
    watched: true,
  };
  expect(resolver.resolve(inside(1n))).toEqual(web);
  expect(resolver.resolve(inside(2n))).toEqual(web);
  expect(resolver.resolve(inside(3n))).toEqual({
    service: 'alone',
    namespace: '',
    workload: 'alone',
    labels: { image: 'nginx:1.25', version: '1.2' },
    watched: true,
  });
  for (let i = 0; i < 100; i++) resolver.resolve(inside(1n));
  cgroups.add(1n);
  await sleep(20);
  expect(asked.sort()).toEqual([ids[1], ids[2], ids[3]]);
});

test('one that nobody told of is asked for with the first question, and waited for meanwhile', async () => {
  const socket = join(temporaryDirectory(), 'docker.sock');
  await engine(socket, { [ids[5]!]: named('/late') });
  const { resolver } = await started(socket);
  expect(resolver.resolve(inside(5n))).toBeUndefined();
  expect(resolver.pending?.(inside(5n))).toBe(true);
  await until(() => resolver.resolve(inside(5n))?.service === 'late');
});

test('one that no engine knows is waited for for a moment, and asked for now and then', async () => {
  const socket = join(temporaryDirectory(), 'docker.sock');
  const { asked } = await engine(socket, {});
  const { resolver } = await started(socket);
  await until(() => resolver.pending?.(inside(5n)) === false);
  expect(asked).toEqual([ids[5], ids[5], ids[5]]);
  for (let i = 0; i < 100; i++) expect(resolver.pending?.(inside(5n))).toBe(false);
  await sleep(20);
  expect(asked).toHaveLength(3);
});

test('an engine may come later, and fail; without one nothing is waited for', async () => {
  const socket = join(temporaryDirectory(), 'docker.sock');
  const { cgroups, resolver } = await started(socket);
  cgroups.add(5n);
  expect(resolver.pending?.(inside(5n))).toBe(false);
  expect(resolver.status()).toBe('no engine');
  const { state } = await engine(socket, { [ids[5]!]: named('/first'), [ids[6]!]: named('/second') });
  expect(resolver.pending?.(inside(5n))).toBe(true);
  await until(() => resolver.resolve(inside(5n)));
  state.status = 500;
  cgroups.add(6n);
  await until(
    () => resolver.status() === `1 containers of docker:${socket}; docker:${socket}: the answer is 500`,
  );
  state.status = 200;
  await until(() => {
    resolver.pending?.(inside(6n));
    return resolver.resolve(inside(6n));
  });
  expect(resolver.status()).toBe(`2 containers of docker:${socket}`);
});
