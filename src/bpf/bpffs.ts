import { spawnSync } from 'node:child_process';
import { mkdirSync, statfsSync } from 'node:fs';
import { MeshtapError } from '../errors.js';

export const BPFFS = '/sys/fs/bpf';
/** BPF_FS_MAGIC of linux/magic.h. */
const BPFFS_MAGIC = 0xcafe4a11;

const isMounted = () => {
  try {
    return statfsSync(BPFFS).type >>> 0 === BPFFS_MAGIC;
  } catch {
    return false; // no sysfs either
  }
};

/**
 * The directory of the file system that keeps maps and links while no process does; mounted if it was not.
 *
 * @throws MeshtapError `BPFFS_MISSING`
 */
export function bpffs(): string {
  if (isMounted()) return BPFFS;
  const { stderr } = spawnSync('mount', ['-t', 'bpf', 'bpf', BPFFS], { encoding: 'utf8' });
  if (isMounted()) return BPFFS;
  throw new MeshtapError(
    'BPFFS_MISSING',
    `no bpf file system is mounted at ${BPFFS}: ${(stderr ?? '').trim()}`,
    {
      hint: `mount -t bpf bpf ${BPFFS}; in a container, mount the host's there`,
    },
  );
}

/** Makes a directory in it. Names there have no dots (bpf_lookup, kernel/bpf/inode.c): they become tildes. */
export function bpffsDirectory(...names: string[]): string {
  const path = [bpffs(), ...names.map((name) => name.replaceAll('.', '~'))].join('/');
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}
