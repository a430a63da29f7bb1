import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PREFIX = 'meshtap-k8s-';

/** One directory of one name in every cgroup hierarchy of this machine, of either version: the node's part of it. */
export class CgroupTrees implements AsyncDisposable {
  /** From the root of each hierarchy, with a leading slash. */
  readonly path = `/${PREFIX}${process.pid}`;
  /** In the hierarchy of version 2, which is where programs are attached. */
  readonly v2: string;
  readonly #directories: readonly string[];

  constructor() {
    const mounts = hierarchies();
    const v2 = mounts.find(({ version }) => version === 2);
    if (!v2) throw new Error('no cgroup2 hierarchy is mounted');
    this.v2 = join(v2.mount, this.path);
    this.#directories = mounts.map(({ mount }) => join(mount, this.path));
    for (const directory of this.#directories) mkdirSync(directory);
  }

  /** Removes what the nodes of processes left that were killed. */
  static removeStale(): void {
    for (const { mount } of hierarchies()) {
      for (const name of readdirSync(mount).filter((name) => name.startsWith(PREFIX))) {
        if (!existsSync(`/proc/${name.slice(PREFIX.length)}`)) removeTree(join(mount, name));
      }
    }
  }

  /** Waits until the last process has left, which is a moment after it was killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt++) {
      if (this.#directories.map(removeTree).every(Boolean)) return;
      await sleep(50);
    }
    throw new Error(`${this.path} can not be removed from every hierarchy: some process is still in it`);
  }
}

interface Hierarchy {
  readonly mount: string;
  readonly version: 1 | 2;
}

function hierarchies(): Hierarchy[] {
  const lines = readFileSync('/proc/mounts', 'utf8').split('\n');
  return lines.flatMap((line): Hierarchy[] => {
    const [, mount, type] = line.split(' ');
    if (type === 'cgroup2') return [{ mount: mount!, version: 2 }];
    return type === 'cgroup' ? [{ mount: mount!, version: 1 }] : [];
  });
}

/** @returns whether it is gone */
function removeTree(path: string): boolean {
  try {
    const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const { name } of children) removeTree(join(path, name));
    rmdirSync(path);
    return true;
  } catch {
    return !existsSync(path);
  }
}
