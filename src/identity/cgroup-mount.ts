import { readFileSync } from 'node:fs';
import { openCgroup } from '../bpf/cgroup.js';
import { MeshtapError } from '../errors.js';

/**
 * Where the cgroup v2 hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1. The
 * mount that holds `directory`, if one is given. Throws CGROUP_INVALID if there is none.
 */
export function cgroupMount(directory?: string): string {
  // proc_pid_mountinfo(5): the fifth field is the mount point, the first after " - " the type.
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2 /.test(line))
    .map((line) => (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal) => octalCharacter(octal)));
  const [first] = mounts;
  if (first === undefined)
    throw new MeshtapError('CGROUP_INVALID', 'no cgroup v2 hierarchy is mounted', {
      hint: 'Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified.',
    });
  return mounts.find((mount) => directory !== undefined && isInside(directory, mount)) ?? first;
}

const octalCharacter = (octal: string) => String.fromCharCode(Number.parseInt(octal, 8));

/** Whether a path is the given directory or below it; both absolute. */
export function isInside(path: string, directory: string): boolean {
  const base = directory === '/' ? '/' : `${directory}/`;
  return path === directory || path.startsWith(base);
}

/**
 * `/system.slice/nginx.service` for a directory of the hierarchy mounted at `mount`. Throws CGROUP_INVALID if it is
 * none.
 */
export function pathInside(mount: string, directory: string): string {
  return openCgroup(directory).path.slice(mount.length) || '/';
}
