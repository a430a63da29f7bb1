import { readFileSync, realpathSync, statfsSync, statSync } from 'node:fs';
import { MeshtapError } from '../errors.js';

/** A directory of the cgroup-v2 hierarchy, and the id under which the kernel knows it. */
export interface Cgroup {
  readonly path: string;
  /** Its inode number, on every kernel since 4.18. */
  readonly id: bigint;
}

/** CGROUP2_SUPER_MAGIC of linux/magic.h. */
const CGROUP2_MAGIC = 0x63677270;

/**
 * The cgroup behind a path.
 *
 * @throws MeshtapError `CGROUP_INVALID` if it is no directory of a cgroup-v2 hierarchy; says where one is mounted.
 */
export function openCgroup(path: string): Cgroup {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (!stat) throw invalid(`there is no cgroup ${path}`);
  if (!stat.isDirectory()) throw invalid(`${path} is not a directory`);
  if (statfsSync(path).type !== CGROUP2_MAGIC) throw invalid(`${path} is not a cgroup-v2 directory`);
  return { path: realpathSync(path), id: stat.ino };
}

function invalid(message: string): MeshtapError {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup2')
    .map(([, path]) => path);
  const hint = mounts.length
    ? `The cgroup-v2 hierarchy of this machine is mounted at ${mounts.join(' and ')}`
    : 'No cgroup-v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified';
  return new MeshtapError('CGROUP_INVALID', message, { hint });
}
