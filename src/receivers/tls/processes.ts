/**
 * What /proc tells of processes in a cgroup: which there are, what they run, which files they have mapped.
 *
 * @module
 */
import { readdirSync, readFileSync, readlinkSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The processes of a cgroup-v2 directory and of all below it. */
export function processesIn(cgroup: string): number[] {
  const own = orNothing(() => readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').split('\n')) ?? [];
  const below = orNothing(() => readdirSync(cgroup, { withFileTypes: true })) ?? [];
  return [
    ...own.map(Number).filter((pid) => pid > 0), // 0: of another PID namespace
    ...below.flatMap((entry) => (entry.isDirectory() ? processesIn(join(cgroup, entry.name)) : [])),
  ];
}

/** Changes when the process runs another program, or is another process; undefined if there is none. */
export function imageOf(pid: number): string | undefined {
  return orNothing(() => {
    const { dev, ino } = statSync(`/proc/${pid}/exe`);
    // Field 22 is the start time; the second, the name, may hold anything but ends with the last ')'.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${dev}:${ino}:${stat.slice(stat.lastIndexOf(')')).split(' ')[20]}`;
  });
}

/** The path of what it executes, as the process knows it. */
export const executableOf = (pid: number): string | undefined =>
  orNothing(() => readlinkSync(`/proc/${pid}/exe`));

/** What the process calls itself, and its id: `nginx (17)`. */
export const nameOf = (pid: number): string =>
  `${orNothing(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) ?? 'gone'} (${pid})`;

export interface MappedFile {
  /** As the process knows it. */
  readonly path: string;
  /** Where this process finds it: through the other's root. */
  readonly here: string;
}

/** Files whose code the process has mapped, as far as they are still where they were. */
export function mappedFiles(pid: number): MappedFile[] {
  const text = orNothing(() => readFileSync(`/proc/${pid}/maps`, 'utf8')) ?? '';
  const found = new Map<string, MappedFile>();
  for (const line of text.split('\n')) {
    // address permissions offset device inode path (proc(5))
    const [, inode, path] = /^\S+ ..x\S* \S+ \S+ (\d+) +(\/.*)$/.exec(line) ?? [];
    if (path === undefined || found.has(path)) continue;
    const here = `/proc/${pid}/root${path}`;
    // The device may differ where the file is part of an overlay; a file that was replaced has another inode.
    if (orNothing(() => String(statSync(here).ino)) === inode) found.set(path, { path, here });
  }
  return [...found.values()];
}

/** OVERLAYFS_SUPER_MAGIC of linux/magic.h */
const OVERLAY = 0x794c7630;

/**
 * What tells the file from all others, whatever names it has; undefined where that can not be told: two overlays show one
 * file of their layers as two.
 */
export function identityOf(file: string): string | undefined {
  if (statfsSync(file).type === OVERLAY) return undefined;
  const { dev, ino } = statSync(file);
  return `${dev}:${ino}`;
}

/** Processes come and go while one looks. */
function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
