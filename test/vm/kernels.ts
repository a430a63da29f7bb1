import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** A kernel that is ready to boot. */
export interface Kernel {
  /** As in kernels.json: `6.1`, `newest`. */
  name: string;
  /** As `uname -r` prints it. */
  release: string;
  /** Holds `kernel`, `initramfs` and `lib/modules`. */
  directory: string;
}

const { kernels, package: metapackage } = JSON.parse(readFileSync(join(here, 'kernels.json'), 'utf8')) as {
  kernels: { name: string; suites: string[] }[];
  package: string;
};

/** The names in kernels.json, oldest first, narrowed by `KERNELS=6.1,5.10`. */
export function kernelNames(only = process.env.KERNELS): string[] {
  const names = kernels.map((kernel) => kernel.name);
  if (!only) return names;
  const wanted = only.split(',').map((name) => name.trim());
  for (const name of wanted) {
    if (!names.includes(name))
      throw new Error(`no kernel "${name}" in kernels.json, which has ${names.join(', ')}`);
  }
  return names.filter((name) => wanted.includes(name));
}

/** The kernel of that name, downloaded first if it is not in the cache. */
export function fetchKernel(name: string): Kernel {
  const kernel = kernels.find((candidate) => candidate.name === name);
  if (!kernel) throw new Error(`no kernel "${name}" in kernels.json`);
  execFileSync(join(here, 'fetch.sh'), [name, metapackage, ...kernel.suites], { stdio: ['ignore', 2, 2] });
  const cache = process.env.MESHTAP_VM_CACHE ?? join(homedir(), '.cache/meshtap-vm');
  const directory = join(cache, 'kernels', name);
  if (!existsSync(join(directory, 'initramfs'))) throw new Error(`fetch.sh left no kernel in ${directory}`);
  return { name, release: readFileSync(join(directory, 'release'), 'utf8').trim(), directory };
}
