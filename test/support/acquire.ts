import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { detach, type InstanceOptions } from '../../src/bpf/instance.js';

/** The script that acquires an instance, and its arguments. */
export function acquireCommand(options: InstanceOptions, deathAt = ''): string[] {
  const json = JSON.stringify(options, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  const script = join(import.meta.dirname, '../fixtures/acquire.js');
  return [process.execPath, script, json, deathAt];
}

/** Another process that acquires an instance, and may die as by kill -9 at a step. `said` is its line of JSON. */
export function acquireElsewhere(options: InstanceOptions, deathAt?: string) {
  const [command, ...rest] = acquireCommand(options, deathAt);
  const child = spawn(command!, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  const said = new Promise<string>((resolve) => {
    const lines = createInterface(child.stdout!);
    lines.once('line', resolve);
    lines.once('close', () => resolve(''));
  });
  onTestFinished(() => kill(child));
  return Object.assign(child, { said });
}

/** Ends a process as nothing else does, and waits for that. */
export function kill(child: ChildProcess): Promise<void> {
  const ended = exited(child);
  child.kill('SIGKILL');
  return ended;
}

export const exited = (child: ChildProcess): Promise<void> =>
  child.exitCode === null && child.signalCode === null
    ? new Promise((resolve) => child.once('exit', () => resolve()))
    : Promise.resolve();

/** Detaches a pinned instance when the test is over. A test that failed may hold it still, and leaves nothing all the same. */
export function detachAfterwards(instance: string): void {
  onTestFinished(() => {
    try {
      detach({ instance });
    } catch (error) {
      rmSync(join('/sys/fs/bpf/meshtap', instance), { recursive: true, force: true });
      throw error;
    }
  });
}
