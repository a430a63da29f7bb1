import { readFileSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { MeshtapError } from '../errors.js';

export const EPERM = 1;
export const ENOENT = 2;
export const EEXIST = 17;
export const EINVAL = 22;
export const ENOSPC = 28;
/** The kernel's own "not supported", which never got a name in user space. */
export const ENOTSUPP = 524;

/** `EINVAL (invalid argument)` */
export function describeErrno(errno: number): string {
  if (errno === ENOTSUPP) return 'ENOTSUPP (not supported by this kernel)';
  const known = getSystemErrorMap().get(-errno);
  return known ? `${known[0]} (${known[1]})` : `errno ${errno}`;
}

/** Bits of `CapEff` in /proc/self/status (capabilities(7)). */
const CAP_NET_ADMIN = 1n << 12n;
const CAP_SYS_ADMIN = 1n << 21n;
const CAP_PERFMON = 1n << 38n;
const CAP_BPF = 1n << 39n;

/** True if this process holds the capabilities that loading and attaching takes. */
export function isPrivileged(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'));
  const has = BigInt(`0x${line?.[1] ?? '0'}`);
  const narrow = CAP_NET_ADMIN | CAP_PERFMON | CAP_BPF;
  return (has & CAP_SYS_ADMIN) !== 0n || (has & narrow) === narrow;
}

/** @throws MeshtapError `NOT_ROOT` if this process may not load programs. */
export function requirePrivileges(): void {
  if (!isPrivileged()) throw notRoot('eBPF programs can not be loaded by this user');
}

function notRoot(message: string): MeshtapError {
  return new MeshtapError('NOT_ROOT', message, {
    hint: 'Run as root, or with CAP_SYS_ADMIN (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON where nothing is pinned)',
  });
}

/** The error for a BPF call that failed: `what` says what was tried, `result` is its errno or -errno. */
export function bpfFailure(what: string, result: number): MeshtapError {
  const errno = Math.abs(result);
  if (errno === EPERM && !isPrivileged()) return notRoot(`${what}: ${describeErrno(errno)}`);
  return new MeshtapError('BPF_FAILED', `${what}: ${describeErrno(errno)}`);
}

/** Returns `result`, or throws what it says. */
export function check(what: string, result: number): number {
  if (result < 0) throw bpfFailure(what, result);
  return result;
}

/** The error for an object that did not load: one telling line, the number of the others, the whole log aside. */
export function loadFailure(path: string, result: number, log: string): MeshtapError {
  if (Math.abs(result) === EPERM && !isPrivileged()) return notRoot(`load ${path}: ${describeErrno(result)}`);
  const lines = log.split('\n').filter((line) => line.trim() !== '');
  const line = tellingLine(lines);
  const program = /prog '([^']*)': -- BEGIN PROG LOAD LOG --/.exec(log)?.[1];
  const where = program === undefined ? path : `program ${program} of ${path}`;
  const others = lines.length - 1;
  const omitted = others > 0 ? ` (${others} ${others === 1 ? 'line' : 'lines'} omitted)` : '';
  const message = program === undefined ? `the kernel refused ${where}` : `the verifier refused ${where}`;
  return new MeshtapError('VERIFIER_REFUSED', `${message}: ${line ?? describeErrno(-result)}${omitted}`, {
    hint: 'meshtap status shows what this kernel supports; the full log is in the error’s detail',
    detail: log,
  });
}

/** Lines that follow the verdict, or are an instruction or a state of registers. */
const NOT_A_VERDICT = [
  /^libbpf: /,
  /^-- (BEGIN|END)/,
  /^processed \d+ insns/,
  /^verification time/,
  /^stack depth/,
  /^(max_states_per_insn|total_states|peak_states|mark_read)/,
  /^\s*;/,
  /^\d+: \(/,
  /^(from )?\d+(:| to \d+)/,
  /^\s*(frame\d+:)?\s*R\d+(_\w+)?=/,
  /^(parent|last_idx|regs=|mark_precise|frame\d|caller|callee|returning)/,
  /^(Validating|Func#|func#|arg#)/,
];

/** What Linux 7.3 begins its explanations with, which come after the verdict. */
const EXPLANATION = /^Verification failed: /;

/** The verifier's verdict is the last thing it writes before its statistics; without a verifier, libbpf's complaint. */
function tellingLine(lines: readonly string[]): string | undefined {
  const begin = lines.findIndex((line) => line.includes('-- BEGIN PROG LOAD LOG --'));
  if (begin < 0) return lines[0]?.replace(/^libbpf: /, '');
  const end = lines.findIndex((line) => line.includes('-- END PROG LOAD LOG --') || EXPLANATION.test(line));
  return lines
    .slice(begin + 1, end < 0 ? undefined : end)
    .findLast((line) => !NOT_A_VERDICT.some((pattern) => pattern.test(line)))
    ?.trim();
}
