import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configure, DEFAULT_LIMITS, fillFreeQueues, stripesFor } from '../src/bpf/counting.js';
import { libbpf } from '../src/bpf/libbpf.js';
import { type LoadedObject, openObject } from '../src/bpf/object.js';
import { DEFAULT_BOUNDARIES } from '../src/config/boundaries.js';

/** What the kernel knows of one program, by its name. */
export interface ProgramStatistics {
  readonly name: string;
  /** All its runs while statistics were on. */
  readonly runs: number;
  /** ... and how long they took. */
  readonly nanoseconds: number;
  /** Instructions the verifier looked at; 0 before Linux 5.16, which does not say. */
  readonly verified: number;
}

/** Room for the routes that are measured. */
const LIMITS = { ...DEFAULT_LIMITS, routes: 4096 };

/** An object of meshtap's with the default boundaries and, but for routes, the default limits. */
export async function loadMeshtap(path: string): Promise<LoadedObject> {
  using spec = await openObject(path);
  const boundaries = DEFAULT_BOUNDARIES.map((seconds) => BigInt(Math.round(seconds * 1e9)));
  const stripes = stripesFor(libbpf().libbpf_num_possible_cpus());
  configure(spec, { boundaries, limits: LIMITS, stripes });
  const object = await spec.load();
  fillFreeQueues(object.maps, LIMITS);
  return object;
}

/** Programs that do nothing. */
export async function loadEmpty(): Promise<LoadedObject> {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-bench-'));
  try {
    const object = join(directory, 'empty.bpf.o');
    const machine = execFileSync('uname', ['-m']).toString().trim();
    const flags = ['-O2', '-g', '-target', 'bpf', '-mcpu=v2', `-I/usr/include/${machine}-linux-gnu`];
    execFileSync('clang', [...flags, '-c', join(import.meta.dirname, 'empty.bpf.c'), '-o', object]);
    using spec = await openObject(object);
    return await spec.load();
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export function statisticsOf(object: LoadedObject): ProgramStatistics[] {
  return object.programs.map(({ name, fd }) => {
    // struct bpf_prog_info of linux/bpf.h
    const info = new DataView(new ArrayBuffer(256));
    const size = new Uint32Array([info.byteLength]);
    const result = libbpf().bpf_obj_get_info_by_fd(fd, new Uint8Array(info.buffer), size);
    if (result < 0) throw new Error(`the kernel does not tell about the program ${name}: error ${-result}`);
    return {
      name,
      nanoseconds: Number(info.getBigUint64(192, true)),
      runs: Number(info.getBigUint64(200, true)),
      verified: info.getUint32(216, true),
    };
  });
}

const SWITCH = '/proc/sys/kernel/bpf_stats_enabled';

/** Has the kernel take the time of every program while `work` goes on; then all is as it was. */
export async function withStatistics<T>(work: () => Promise<T>): Promise<T> {
  const before = readFileSync(SWITCH, 'utf8');
  const restore = () => writeFileSync(SWITCH, before);
  process.on('exit', restore); // a signal may come in between
  writeFileSync(SWITCH, '1');
  try {
    return await work();
  } finally {
    restore();
    process.off('exit', restore);
  }
}
