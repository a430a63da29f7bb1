import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readlinkSync, rmdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { cgroup } from '../../src/identity/cgroup.js';
import { CgroupIndex } from '../../src/identity/cgroup-index.js';
import { cgroupMount } from '../../src/identity/cgroup-mount.js';
import type { Question } from '../../src/identity/identity.js';
import { testResolver } from '../contract/resolver.js';
import { cgroupRoot, makeCgroup } from '../support/cgroup.js';

const ask = (id: bigint): Question => ({
  endpoint: { kind: 'cgroup', cgroup: id },
  role: 'client',
  port: undefined,
});

testResolver('cgroup', {
  create: () => cgroup(),
  known: () => ask(statSync(cgroupRoot(), { bigint: true }).ino),
});

async function started(options = {}) {
  const resolver = cgroup(options);
  await resolver.start(new AbortController().signal);
  onTestFinished(() => resolver[Symbol.asyncDispose]());
  return resolver;
}

const openFiles = () =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return []; // the directory's own, closed by now
    }
  });

async function until<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    await sleep(5);
  }
}

test('finds the mount that /proc/mounts tells', () => {
  expect(cgroupMount()).toBe(cgroupRoot());
});

test('names what was there before, what came after, and what is below it', async () => {
  const before = makeCgroup('index-before');
  const resolver = await started();
  expect(resolver.resolve(ask(before.id))?.service).toBe(basename(before.path));

  const after = makeCgroup('index-after');
  const unit = join(after.path, 'nginx.service');
  mkdirSync(unit);
  onTestFinished(() => rmdirSync(unit));
  const { ino } = statSync(unit, { bigint: true });
  const identity = await until(() => resolver.resolve(ask(ino)));
  expect(identity).toEqual({ service: 'nginx', workload: 'nginx', namespace: '', labels: {}, watched: true });
});

test('the id is the one the kernel gives its processes', async () => {
  const { path, id } = makeCgroup('index-id');
  const resolver = await started();
  const script = `echo $$ > ${path}/cgroup.procs && grep ^0:: /proc/self/cgroup`;
  const line = execFileSync('sh', ['-c', script]).toString().trim();
  expect(line).toBe(`0::/${basename(path)}`);
  expect(resolver.resolve(ask(id))?.service).toBe(basename(path));
});

test('only what is in the watched cgroup is watched', async () => {
  const inside = makeCgroup('index-inside');
  const outside = makeCgroup('index-inside-not');
  const resolver = await started({ watched: inside.path });
  expect(resolver.resolve(ask(inside.id))?.watched).toBe(true);
  expect(resolver.resolve(ask(outside.id))?.watched).toBe(false);
});

test('a name outlives its cgroup, and one of the same name is another one', async () => {
  const { path } = makeCgroup('index-again');
  const resolver = await started();
  const ids: bigint[] = [];
  for (let round = 0; round < 3; round++) {
    const child = join(path, `job-${round % 2}`);
    mkdirSync(child);
    const { ino } = statSync(child, { bigint: true });
    ids.push(ino);
    await until(() => resolver.resolve(ask(ino)));
    rmdirSync(child);
  }
  await sleep(50);
  expect(new Set(ids).size).toBe(3);
  expect(ids.map((id) => resolver.resolve(ask(id))?.service)).toEqual(['job-0', 'job-1', 'job-0']);
});

test('thousands of short-lived cgroups all get their names, and leave nothing open', async () => {
  const { path } = makeCgroup('index-churn');
  const resolver = await started({ remember: 5_000 });
  const existing = () => Number(/^\d+/.exec(resolver.status())![0]);
  const before = existing();
  // By another process, as it would be: fifty at a time, each for one turn of this process' event loop, that is for
  // milliseconds on a machine that has nothing else to do.
  const script = `
    const fs = require('fs');
    for (let batch = 0; batch < 60; batch++) {
      const dirs = Array.from({ length: 50 }, (_, i) => ${JSON.stringify(path)} + '/short-' + (50 * batch + i));
      for (const dir of dirs) fs.mkdirSync(dir);
      const ids = dirs.map((dir) => fs.statSync(dir, { bigint: true }).ino);
      fs.writeSync(1, ids.join(' ') + '\\n');
      fs.readSync(0, Buffer.alloc(1));
      for (const dir of dirs) fs.rmdirSync(dir);
    }`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ids: bigint[] = [];
  for await (const line of createInterface(child.stdout)) {
    ids.push(...line.split(' ').map(BigInt));
    setImmediate(() => child.stdin.write('.'));
  }
  expect(ids).toHaveLength(3000);
  for (const [number, id] of ids.entries())
    expect(resolver.resolve(ask(id))?.service).toBe(`short-${number}`);
  // Others on this machine make and remove theirs meanwhile.
  await until(() => (existing() < before + 1000 ? true : undefined));
  // However many directories are watched.
  expect(openFiles().filter((file) => file === 'anon_inode:inotify')).toHaveLength(1);
});

test('what no watch told is found by looking, once', () => {
  const { path, id } = makeCgroup('index-missed');
  using index = new CgroupIndex({ mount: cgroupRoot(), remember: 10 });
  const child = join(path, 'late');
  mkdirSync(child);
  onTestFinished(() => rmdirSync(child));
  // No event has been delivered yet: this is the same turn of the event loop.
  expect(index.pathOf(statSync(child, { bigint: true }).ino)).toBe(`/${basename(path)}/late`);
  expect(index.pathOf(id)).toBe(`/${basename(path)}`);
  expect(index.pathOf(1n << 60n)).toBeUndefined();
});
