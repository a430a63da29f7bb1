import { mkdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

/** Where this machine has its cgroup-v2 hierarchy. */
export function cgroupRoot(): string {
  const mount = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, , type]) => type === 'cgroup2');
  if (!mount) throw new Error('no cgroup2 hierarchy is mounted');
  return mount[1]!;
}

/** A cgroup of the test's own, gone when the test is over, with whatever the test left running in it. */
export function makeCgroup(name: string): { path: string; id: bigint } {
  const path = join(cgroupRoot(), `meshtap-${name}-${process.pid}`);
  mkdirSync(path);
  onTestFinished(() => removeCgroup(path));
  return { path, id: statSync(path, { bigint: true }).ino };
}

async function removeCgroup(path: string): Promise<void> {
  for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
    process.kill(Number(pid), 'SIGKILL');
  }
  while (readFileSync(join(path, 'cgroup.procs'), 'utf8') !== '') await setTimeout(5);
  rmdirSync(path);
}
