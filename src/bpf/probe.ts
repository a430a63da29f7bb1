/**
 * Asking the kernel by trying: a tiny program, map or call that only works where the feature exists. An answer that
 * could have another reason (no privileges, a lockdown) is "unknown", never a no.
 *
 * @module
 */
import { closeSync, existsSync } from 'node:fs';
import { describeErrno, EINVAL, ENOENT, ENOTSUPP } from './failure.js';
import { libbpf, PROGRAM_LOAD_OPTIONS_SIZE } from './libbpf.js';

export interface Probed {
  readonly state: 'supported' | 'not supported' | 'unknown';
  /** Why it is not `supported`, as the kernel put it. */
  readonly reason?: string;
}

/** `enum bpf_prog_type` and `enum bpf_attach_type` of linux/bpf.h, as far as they are asked for. */
export const PROGRAM = { KPROBE: 2, CGROUP_SKB: 8, CGROUP_SOCK: 9, SOCK_OPS: 13, TRACING: 26 } as const;
export const ATTACH = {
  CGROUP_INET_INGRESS: 0,
  CGROUP_SOCK_OPS: 3,
  TRACE_RAW_TP: 23,
  TRACE_FENTRY: 24,
  CGROUP_INET_SOCK_RELEASE: 34,
} as const;

const E2BIG = 7;
const EBADF = 9;
const SUPPORTED: Probed = { state: 'supported' };

const refused = (reason: string): Probed => ({ state: 'not supported', reason });
const unclear = (result: number): Probed => ({ state: 'unknown', reason: describeErrno(-result) });
/** The kernel's words for a program type, attach type, flag or system call that it does not know. */
const isUnknownToKernel = (result: number) => [-EINVAL, -E2BIG, -ENOTSUPP].includes(result);

function verdict(result: number): Probed {
  if (result >= 0) return SUPPORTED;
  return isUnknownToKernel(result) ? refused(describeErrno(-result)) : unclear(result);
}

/** One instruction: `struct bpf_insn` of linux/bpf.h. */
const instruction = (code: number, { dst = 0, src = 0, offset = 0, immediate = 0 } = {}): number[] => [
  code,
  dst | (src << 4),
  offset & 0xff,
  (offset >> 8) & 0xff,
  ...[0, 8, 16, 24].map((shift) => (immediate >> shift) & 0xff),
];
const move = (dst: number, immediate: number) => instruction(0xb7, { dst, immediate });
const call = (helper: number) => instruction(0x85, { immediate: helper });
const EXIT = instruction(0x95);
const R10 = 10;

interface Hook {
  readonly type: number;
  readonly attach: number;
  /** BTF id of what a tracing program is attached to. */
  readonly target?: number;
}

export const SKB: Hook = { type: PROGRAM.CGROUP_SKB, attach: ATTACH.CGROUP_INET_INGRESS };
export const SOCK_OPS: Hook = { type: PROGRAM.SOCK_OPS, attach: ATTACH.CGROUP_SOCK_OPS };
export const RELEASE: Hook = { type: PROGRAM.CGROUP_SOCK, attach: ATTACH.CGROUP_INET_SOCK_RELEASE };

/** Loads a program; its file descriptor or -errno, and what the verifier said. */
function load(hook: Hook, ...instructions: number[][]): { result: number; log: string } {
  const text = Buffer.alloc(64 * 1024);
  const result = libbpf().bpf_prog_load(
    hook.type,
    null,
    'GPL',
    new Uint8Array(instructions.flat()),
    instructions.length,
    {
      sz: PROGRAM_LOAD_OPTIONS_SIZE,
      attempts: 1,
      expected_attach_type: hook.attach,
      attach_btf_id: hook.target ?? 0,
      log_level: 1,
      log_size: text.length,
      log_buf: text,
    },
  );
  return { result, log: text.toString('latin1', 0, text.indexOf(0)) };
}

function tryLoad(hook: Hook, ...instructions: number[][]): Probed {
  const { result } = load(hook, ...instructions);
  if (result >= 0) closeSync(result);
  return verdict(result);
}

/** Whether programs of a kind load at all. */
export const canLoad = (hook: Hook): Probed => tryLoad(hook, move(0, 1), EXIT);

/**
 * Whether a program of that kind may call a helper. The call has no sensible arguments: a verifier that minds them
 * knows the helper. (libbpf's own probe takes the refusals of Linux 6.12 for a yes.)
 */
export function canCall(hook: Hook, helper: number): Probed {
  const { result, log } = load(hook, call(helper), move(0, 1), EXIT);
  if (result >= 0) closeSync(result);
  if (result >= 0) return SUPPORTED;
  const refusal = /^.*(unknown func|invalid func|cannot use helper).*$/m.exec(log);
  if (refusal) return refused(refusal[0]);
  return log === '' ? unclear(result) : SUPPORTED;
}

/** Whether the verifier follows a loop (Linux 5.3). */
export const canLoop = (): Probed =>
  tryLoad(
    SKB,
    move(0, 0),
    instruction(0x07, { dst: 0, immediate: 1 }),
    instruction(0xa5, { dst: 0, offset: -2, immediate: 4 }),
    move(0, 1),
    EXIT,
  );

/** Whether an atomic addition can return what was there (BPF_FETCH). */
export const canFetch = (): Probed =>
  tryLoad(
    SKB,
    move(0, 1),
    instruction(0x7b, { dst: R10, src: 0, offset: -8 }),
    instruction(0xdb, { dst: R10, src: 0, offset: -8, immediate: 0x01 }),
    move(0, 1),
    EXIT,
  );

/** Whether programs of a kind can be attached by bpf_link: the kernel must get as far as minding the target. */
export function canLink(hook: Hook): Probed {
  const { result: program } = load(hook, move(0, 1), EXIT);
  if (program < 0) return verdict(program);
  const result = libbpf().bpf_link_create(program, -1, hook.attach, null);
  closeSync(program);
  return result === -EBADF ? SUPPORTED : verdict(result);
}

/** Whether an attached program can be replaced. */
export function canUpdateLink(): Probed {
  const { result: program } = load(SKB, move(0, 1), EXIT);
  if (program < 0) return verdict(program);
  const result = libbpf().bpf_link_update(-1, program, null);
  closeSync(program);
  return result === -EBADF ? SUPPORTED : verdict(result);
}

/** Whether a map of that type can be made, of a shape that suits it. (libbpf's own probe takes any failure for a no.) */
export function hasMap(type: number, { key = 4, value = 4, entries = 1, flags = 0 } = {}): Probed {
  // struct bpf_map_create_opts of libbpf's bpf.h, up to map_flags
  const options = new Uint32Array([32, 0, 0, 0, 0, 0, 0, flags]);
  const result = libbpf().bpf_map_create(type, null, key, value, entries, options);
  if (result >= 0) closeSync(result);
  return verdict(result);
}

/** Whether a map of that type can be read in batches. */
export function canReadInBatches(type: number): Probed {
  const map = libbpf().bpf_map_create(type, null, 4, 4, 1, null);
  if (map < 0) return verdict(map);
  const four = () => new Uint8Array(4);
  const count = new Uint32Array([1]);
  const result = libbpf().bpf_map_lookup_batch(map, null, four(), four(), four(), count, null);
  closeSync(map);
  return result === -ENOENT ? SUPPORTED : verdict(result);
}

/** BTF of `int x(int a)` with linkage "global", which has to be understood for functions verified on their own. */
export function hasGlobalFunctions(): Probed {
  const strings = Buffer.from('\0int\0x\0a\0', 'latin1');
  const types = new Uint32Array([
    ...[1, 0x0100_0000, 4, 0x0100_0020], // [1] int, signed, 32 bits
    ...[0, 0x0d00_0001, 1, 7, 1], // [2] int (*)(int a)
    ...[5, 0x0c00_0001, 2], // [3] x, BTF_FUNC_GLOBAL
  ]);
  // struct btf_header { magic, version, flags, hdr_len, type_off, type_len, str_off, str_len }
  const header = new Uint32Array([0x0001_eb9f, 24, 0, types.byteLength, types.byteLength, strings.length]);
  const btf = Buffer.concat([Buffer.from(header.buffer), Buffer.from(types.buffer), strings]);
  const result = libbpf().bpf_btf_load(btf, btf.length, null);
  if (result >= 0) closeSync(result);
  return verdict(result);
}

/** Whether a tracing program loads on a function, or on a tracepoint without its prefix. */
export function canTrace(attach: number, name: string): Probed {
  const target = libbpf().libbpf_find_vmlinux_btf_id(name, attach);
  if (target < 0) return refused(`the kernel's BTF has no ${name}`);
  return tryLoad({ type: PROGRAM.TRACING, attach, target }, move(0, 0), EXIT);
}

/** Whether programs load on kprobes or uprobes, and the kernel has events to attach them to. */
export function hasProbes(kind: 'kprobe' | 'uprobe'): Probed {
  const events = '/sys/bus/event_source/devices';
  const loads = canLoad({ type: PROGRAM.KPROBE, attach: 0 });
  if (loads.state !== 'supported') return loads;
  if (!existsSync(events)) return { state: 'unknown', reason: `there is no ${events}` };
  return existsSync(`${events}/${kind}`) ? SUPPORTED : refused(`the kernel has no ${kind} events`);
}

/** Whether the kernel describes its own types. */
export const hasKernelBtf = (): Probed =>
  existsSync('/sys/kernel/btf/vmlinux') ? SUPPORTED : refused('there is no /sys/kernel/btf/vmlinux');
