/**
 * An instance's directory on bpffs. It holds numbered generations, each complete: the maps, a link per program and a
 * description. A generation is built under the name `new` and becomes one by a rename, so that whenever the process
 * ends, the highest number is an instance that works, and what has no number counts for nothing.
 *
 * @module
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { MeshtapError } from '../errors.js';
import { bpffsDirectory } from './bpffs.js';
import type { Layout } from './layout.js';
import { tryLock } from './libbpf.js';
import { BpfLink } from './link.js';
import { BpfMap } from './map.js';

const UNFINISHED = 'new';
export const DESCRIPTION_FORMAT = 1;

/** What a generation says of itself. */
export interface Description extends Layout {
  /** Changes when the meaning of these fields does. */
  readonly format: typeof DESCRIPTION_FORMAT;
  /** SHA-256 of the object file. */
  readonly object: string;
  readonly cgroup: { readonly path: string; readonly id: string };
  /** When counting began, milliseconds since the epoch. */
  readonly startedAt: number;
  /** Id of each program that was running when this generation was complete. */
  readonly programs: Readonly<Record<string, number>>;
}

const DESCRIPTION = 'description';
const DESCRIPTION_BYTES = 8192;

/** Bytes of one entry of a map that holds bytes; older kernels copy each in one piece. */
const CHUNK_BYTES = 16_384;
/** In front of the bytes: how many they are. */
const LENGTH_BYTES = 8;

/** One complete set of pins. */
export class Generation {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Opens all maps. */
  maps(): Map<string, BpfMap> {
    return new Map(this.#names('map_').map((name) => [name, BpfMap.open(this.#file('map_', name))]));
  }

  /** Opens all links, by the name of their program. */
  links(): Map<string, BpfLink> {
    return new Map(this.#names('link_').map((name) => [name, BpfLink.open(this.#file('link_', name))]));
  }

  pinMap(name: string, map: BpfMap): void {
    map.pin(this.#file('map_', name));
  }

  pinLink(program: string, link: BpfLink): void {
    link.pin(this.#file('link_', program));
  }

  describe(description: Description): void {
    using map = BpfMap.createArray('meshtap_about', DESCRIPTION_BYTES, 1);
    const text = Buffer.alloc(DESCRIPTION_BYTES);
    text.write(JSON.stringify(description));
    map.update(new Uint32Array(1), text);
    map.pin(join(this.#path, DESCRIPTION));
  }

  /** Undefined if another version wrote it in another way. */
  description(): Description | undefined {
    using map = BpfMap.open(join(this.#path, DESCRIPTION));
    const text = Buffer.alloc(map.valueSize);
    map.lookup(new Uint32Array(1), text);
    const description = JSON.parse(text.toString('utf8', 0, text.indexOf(0)));
    return description.format === DESCRIPTION_FORMAT ? description : undefined;
  }

  /**
   * Keeps bytes under a name, in place of those that were there: all of them or none, whenever the process ends.
   *
   * @throws MeshtapError `BPF_FAILED`
   */
  keep(name: string, bytes: Uint8Array): void {
    const entries = Math.ceil((LENGTH_BYTES + bytes.length) / CHUNK_BYTES);
    const padded = new Uint8Array(entries * CHUNK_BYTES);
    new DataView(padded.buffer).setBigUint64(0, BigInt(bytes.length), true);
    padded.set(bytes, LENGTH_BYTES);
    using map = BpfMap.createArray('meshtap_data', CHUNK_BYTES, entries);
    for (let i = 0; i < entries; i++)
      map.update(new Uint32Array([i]), padded.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES));
    const unfinished = this.#file('unfinished_', name);
    rmSync(unfinished, { force: true });
    map.pin(unfinished);
    renameSync(unfinished, this.#file('data_', name));
  }

  /** What is kept under a name. */
  kept(name: string): Uint8Array | undefined {
    if (!existsSync(this.#file('data_', name))) return undefined;
    using map = BpfMap.open(this.#file('data_', name));
    const { values } = map.read();
    const length = Number(new DataView(values.buffer).getBigUint64(0, true));
    return values.slice(LENGTH_BYTES, LENGTH_BYTES + length);
  }

  /** Keeps all that another generation keeps. */
  keepAllOf(other: Generation): void {
    for (const name of other.#names('data_')) this.keep(name, other.kept(name)!);
  }

  #names(kind: string): string[] {
    const files = readdirSync(this.#path).filter((file) => file.startsWith(kind));
    return files.map((file) => file.slice(kind.length));
  }

  #file(kind: string, name: string): string {
    return join(this.#path, kind + name);
  }
}

/** The directory of an instance, locked: only one process at a time has it. */
export class InstanceDirectory implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  /** Number of the generation in force; 0 if there is none. */
  #current: number;
  #open = true;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#current = generationsIn(path).at(-1) ?? 0;
  }

  /**
   * Takes the directory, and removes what a process left behind that ended before it had finished.
   *
   * @throws MeshtapError `INSTANCE_BUSY` if another process has it, `BPFFS_MISSING`.
   */
  static lock(instance: string): InstanceDirectory {
    for (;;) {
      let path: string;
      let fd: number;
      try {
        path = bpffsDirectory('meshtap', instance);
        fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue; // removed by another, just now
        throw error;
      }
      if (!tryLock(fd)) {
        closeSync(fd);
        throw busy(instance, lockHolder(path));
      }
      // Whoever had the lock may have removed the directory: then this is the lock of nothing.
      if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        const directory = new InstanceDirectory(path, fd);
        directory.#removeLeftovers();
        return directory;
      }
      closeSync(fd);
    }
  }

  /** The generation in force, if there is one. */
  get current(): Generation | undefined {
    return this.#current === 0 ? undefined : new Generation(join(this.#path, String(this.#current)));
  }

  /** Begins a generation. It counts for nothing before `commit`. */
  begin(): Generation {
    const path = join(this.#path, UNFINISHED);
    mkdirSync(path);
    return new Generation(path);
  }

  /** Puts the generation that was begun in force, and then removes the one before. */
  commit(): void {
    renameSync(join(this.#path, UNFINISHED), join(this.#path, String(this.#current + 1)));
    this.#current++;
    this.#removeLeftovers();
  }

  /** Drops the generation that was begun, if any. */
  abandon(): void {
    removePins(join(this.#path, UNFINISHED));
  }

  /** Removes everything, the directory too; false if there was nothing. */
  remove(): boolean {
    const existed = this.#current > 0;
    if (existed) renameSync(join(this.#path, String(this.#current)), join(this.#path, UNFINISHED));
    this.abandon();
    rmdirSync(this.#path);
    try {
      rmdirSync(dirname(this.#path));
    } catch {
      // other instances are in it
    }
    return existed;
  }

  /** Gives the lock back. */
  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #removeLeftovers(): void {
    this.abandon();
    for (const number of generationsIn(this.#path)) {
      if (number < this.#current) removePins(join(this.#path, String(number)));
    }
  }
}

/** The generation in force of an instance, without its lock. */
export function peek(instance: string): { generation: Generation | undefined; pid: number | undefined } {
  const path = bpffsDirectory('meshtap', instance);
  const number = generationsIn(path).at(-1);
  return {
    generation: number === undefined ? undefined : new Generation(join(path, String(number))),
    pid: lockHolder(path),
  };
}

/** Names of the instances on this machine. */
export const instanceNames = (): string[] =>
  readdirSync(bpffsDirectory('meshtap')).map((name) => name.replaceAll('~', '.'));

const generationsIn = (path: string): number[] =>
  readdirSync(path)
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);

function removePins(path: string): void {
  if (!existsSync(path)) return;
  for (const name of readdirSync(path)) unlinkSync(join(path, name));
  rmdirSync(path);
}

/** Process that holds the lock of a directory, from /proc/locks (proc_locks(5)); undefined if it can not be seen. */
function lockHolder(path: string): number | undefined {
  const { ino } = statSync(path);
  const line = readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .map((text) => /FLOCK +ADVISORY +WRITE (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(text))
    .find((found) => found?.[2] === String(ino));
  return line ? Number(line[1]) : undefined;
}

function busy(instance: string, pid: number | undefined): MeshtapError {
  const who = pid ? `process ${pid}` : 'another process';
  return new MeshtapError('INSTANCE_BUSY', `the instance ${instance} belongs to ${who}`, {
    hint: 'Stop that agent, or give this one another instance name',
  });
}
