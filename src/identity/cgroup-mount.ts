import { readFileSync } from 'node:fs';
import { openCgroup } from '../bpf/cgroup.js';
import { MeshtapError } from '../errors.js';

/**
 * Where the cgroup v2 hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1.
 * Throws CGROUP_INVALID if it is not.
 */
export function cgroupMount(): string {
  const [first] = mounts();
  if (first !== undefined) return first;
  throw new MeshtapError('CGROUP_INVALID', 'no cgroup v2 hierarchy is mounted', {
    hint: 'Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified',
  });
}

/** A directory of the hierarchy: where it is mounted, and the path below that, `/` first. */
export interface Place {
  readonly mount: string;
  readonly path: string;
}

/** Throws CGROUP_INVALID if the directory is none of a cgroup v2 hierarchy. */
export function placeOf(directory: string): Place {
  const { path } = openCgroup(directory);
  const mount = mounts().find((mount) => isInside(path, mount)) ?? cgroupMount();
  return { mount, path: path.slice(mount.length) || '/' };
}

/** Whether a path is the given directory or below it; both absolute. */
export function isInside(path: string, directory: string): boolean {
  const base = directory === '/' ? '/' : `${directory}/`;
  return path === directory || path.startsWith(base);
}

/** proc_pid_mountinfo(5): the fifth field is the mount point, the first after " - " the type. */
function mounts(): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const points = lines.filter((line) => line.includes(' - cgroup2 ')).map((line) => line.split(' ')[4] ?? '');
  return points.map((point) =>
    point.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))),
  );
}
