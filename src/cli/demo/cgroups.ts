import { mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PREFIX = 'meshtap-demo-';

/** The demo's own cgroup, and one below it for each name. */
export class DemoCgroups implements AsyncDisposable {
  readonly path: string;

  /** Makes them in `parent`, after it has removed those of demos that were killed. */
  constructor(parent: string, names: readonly string[]) {
    removeLeftovers(parent);
    this.path = join(parent, `${PREFIX}${process.pid}`);
    mkdirSync(this.path);
    for (const name of names) mkdirSync(join(this.path, name));
  }

  /** Moves a process, with all its threads. */
  move(pid: number, name: string): void {
    writeFileSync(join(this.path, name, 'cgroup.procs'), String(pid));
  }

  /** To be called when the processes have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    // The kernel takes a moment to forget a process that has ended.
    for (let attempt = 0; attempt < 100; attempt++) {
      if (removeTree(this.path)) return;
      await sleep(20);
    }
    throw new Error(`${this.path} can not be removed: some process is still in it`);
  }
}

/** Children end with their demo, so what is left of a demo that was killed is empty. */
function removeLeftovers(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)$`).exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) removeTree(join(parent, name));
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Whether it is gone. */
function removeTree(path: string): boolean {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory() && !removeTree(join(path, entry.name))) return false;
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
