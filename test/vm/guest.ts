import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Kernel } from './kernels.js';

/** The status of a command that ran out of time, as of timeout(1). */
export const TIMED_OUT = 124;
/** The status when the machine ended without reporting one. */
export const DIED = 125;

export interface GuestOptions {
  kernel: Kernel;
  command: readonly string[];
  /** @default this process's own; the guest sees the same files under the same paths, read-only. */
  cwd?: string;
  /** Besides MESHTAP_VM=1, MESHTAP_TIME_SCALE=10 and MESHTAP_LOAD_SCALE=0.1. */
  env?: Record<string, string>;
  /** Seconds. @default 300 */
  timeout?: number;
  /** MiB. @default 2048 */
  memory?: number;
  /** @default 2: with one, a client and its server wait for each other at every turn. */
  cpus?: number;
  /** A directory that the guest shares read-write. All else it writes is lost with it. */
  results?: string;
  /** @default process.stdout */
  stdout?: Writable;
  /** @default process.stderr */
  stderr?: Writable;
  /** Ends the machine; the result is then `DIED`. */
  signal?: AbortSignal;
}

/**
 * A kernel patches its own code by way of breakpoints (`text_poke_bp`). The emulator may let a processor run into one
 * that the others have just taken away, and the kernel takes that for a bug of its own.
 */
const EMULATOR_FAULT = /Oops: int3/;
/**
 * What a shell says of a command that died of SIGILL or SIGSEGV. Node compiles while it runs, and so patches code, too:
 * of 54 bare starts of it on 5.10, on a machine with more to do than it has processors for, one ended so.
 */
const KILLED_BY_EMULATOR = [132, 139];
const ATTEMPTS = 3;

/**
 * Boots a fresh virtual machine on this machine's own files, runs one command in it as root, and ends it.
 * QEMU emulates the processor (no KVM needed), which is 5 to 25 times slower than the real one. A machine that dies of
 * the emulator's own fault, or whose command does, is begun anew, at most twice.
 *
 * @returns the command's exit status, `TIMED_OUT` or `DIED`; with the latter two, why is written to `stderr`.
 */
export async function runInGuest(options: GuestOptions): Promise<number> {
  const { kernel, stderr = process.stderr } = options;
  for (let attempt = 1; ; attempt++) {
    const { status, why } = await runOnce(options);
    const cause =
      status === DIED && EMULATOR_FAULT.test(why)
        ? 'the emulator tripped over a breakpoint'
        : KILLED_BY_EMULATOR.includes(status) && `the command died with status ${status}`;
    const again = cause && attempt < ATTEMPTS;
    const note = again ? `${cause}, attempt ${attempt + 1} of ${ATTEMPTS}` : why;
    if (note) stderr.write(`vm ${kernel.name}: ${note}\n`);
    if (!again) return status;
  }
}

/** @returns the status, and why there is none of the command's own. */
async function runOnce(options: GuestOptions): Promise<{ status: number; why: string }> {
  const { kernel, timeout = 300, memory = 2048, cpus = 2, results, signal } = options;
  const { stdout = process.stdout, stderr = process.stderr } = options;
  const run = await mkdtemp(join(tmpdir(), 'meshtap-vm-'));
  const children: ChildProcess[] = [];

  try {
    await writeStartFiles(run, options);
    const status = new PassThrough().setEncoding('utf8');
    const ports = [
      await openPort(run, 'stdout', stdout),
      await openPort(run, 'stderr', stderr),
      await openPort(run, 'status', status),
    ];
    const shares = [await shareRoot(run, children, [run, options.cwd ?? process.cwd(), kernel.directory])];
    if (results !== undefined) shares.push(await share(run, children, 'results', results));

    const log = openSync(join(run, 'qemu.log'), 'w');
    const qemu = spawnChild(
      'qemu-system-x86_64',
      [
        ...machineArguments(run, kernel, memory, cpus),
        ...ports.flatMap((port) => port.arguments),
        ...shares.flat(),
      ],
      log,
    );
    closeSync(log);
    children.push(qemu);

    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      qemu.kill('SIGKILL');
    }, timeout * 1000);
    const abort = () => qemu.kill('SIGKILL');
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
    await once(qemu, 'exit');
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    for (const port of ports) await port.closed();

    const reported = String(status.read() ?? '').trim();
    if (/^\d+$/.test(reported)) return { status: Number(reported), why: '' };
    if (timedOut) return { status: TIMED_OUT, why: `timed out after ${timeout} s` };
    if (signal?.aborted) return { status: DIED, why: 'ended on request' };
    return { status: DIED, why: `died; its last words:\n${await lastWords(run)}` };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await rm(run, { recursive: true, force: true });
  }
}

/** What guest/boot reads; the guest finds this directory by its path on the shared root. */
async function writeStartFiles(
  run: string,
  { kernel, command, cwd, env = {}, results }: GuestOptions,
): Promise<void> {
  const settings = { modules: join(kernel.directory, 'lib/modules'), results: results ?? '' };
  const scales = { MESHTAP_TIME_SCALE: '10', MESHTAP_LOAD_SCALE: '0.1' };
  const variables = Object.entries({ MESHTAP_VM: '1', ...scales, ...env }).map(
    ([name, value]) => `export ${name}=${quote(value)}`,
  );
  const script = [
    `cd ${quote(cwd ?? process.cwd())} || exit 126`,
    ...variables,
    `exec ${command.map(quote).join(' ')}`,
  ];
  await copyFile(new URL('guest/boot', import.meta.url), join(run, 'boot'));
  await chmod(join(run, 'boot'), 0o755);
  await writeFile(
    join(run, 'settings'),
    Object.entries(settings)
      .map(([k, v]) => `${k}=${quote(v)}\n`)
      .join(''),
  );
  await writeFile(join(run, 'command'), `${script.join('\n')}\n`);
}

function machineArguments(run: string, kernel: Kernel, memory: number, cpus: number): string[] {
  return [
    ...['-machine', 'q35,memory-backend=memory', '-accel', 'tcg,thread=multi,tb-size=512'],
    ...['-cpu', 'max,la57=off', '-smp', String(cpus), '-m', String(memory)],
    // virtiofs needs memory that its server can map
    ...['-object', `memory-backend-memfd,id=memory,size=${memory}M,share=on`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-serial', `file:${join(run, 'console')}`],
    ...['-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng'],
    ...['-device', 'virtio-serial-pci'],
    ...['-kernel', join(kernel.directory, 'kernel'), '-initrd', join(kernel.directory, 'initramfs')],
    '-append',
    [
      `vm.run=${run} console=ttyS0 quiet panic=-1`,
      // emulated time and random numbers are good enough, and checking them costs seconds
      'tsc=reliable no_timer_check random.trust_cpu=on mitigations=off nokaslr audit=0 nowatchdog',
    ].join(' '),
  ];
}

/** A serial port of the guest's, whose output goes to `sink`. */
async function openPort(run: string, name: string, sink: Writable) {
  const path = join(run, `${name}.sock`);
  let drained: Promise<void> = Promise.resolve();
  const server = createServer((socket) => {
    socket.pipe(sink, { end: false });
    drained = finished(socket, { writable: false }).catch(() => {}); // QEMU killed: a reset, and what came was passed on
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    arguments: [
      ...['-chardev', `socket,id=${name},path=${path}`],
      ...['-device', `virtserialport,chardev=${name},name=${name}`],
    ],
    async closed() {
      await drained;
      server.close();
    },
  };
}

/** Shares `/` without the file systems mounted below it, but with those that hold one of `paths`, all read-only. */
function shareRoot(run: string, children: ChildProcess[], paths: string[]): Promise<string[]> {
  const needed = [process.execPath, fileURLToPath(import.meta.url), ...paths];
  const mounts = new Set(
    needed.map((path) => execFileSync('findmnt', ['-no', 'TARGET', '-T', path], { encoding: 'utf8' }).trim()),
  );
  mounts.delete('/');
  return share(run, children, 'root', '/', ['/', ...mounts]);
}

/** Starts a virtiofsd for `source`; `readOnly` names the mounts to show below it. @returns QEMU's arguments */
async function share(
  run: string,
  children: ChildProcess[],
  tag: string,
  source: string,
  readOnly?: string[],
): Promise<string[]> {
  const socket = join(run, `${tag}.sock`);
  const view = join(run, `${tag}.view`);
  await mkdir(view);
  const script = `
    set -e
    view=$1 server=$2; shift 2
    for mount; do mount --bind "$mount" "$view$mount"; mount -o remount,bind,ro "$view$mount"; done
    exec $server -f`;
  const options = `-o source=${readOnly ? view : source} -o cache=${readOnly ? 'always' : 'auto'}`;
  const server = `${virtiofsd()} --socket-path=${socket} ${options} -o sandbox=chroot -o log_level=err`;
  const log = openSync(join(run, `${tag}.log`), 'w');
  const child = spawnChild(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', view, server, ...(readOnly ?? [])],
    log,
  );
  closeSync(log);
  children.push(child);
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`virtiofsd did not start: ${await lastWords(run)}`);
    await sleep(20);
  }
  return [
    ...['-chardev', `socket,id=${tag}fs,path=${socket}`],
    ...['-device', `vhost-user-fs-pci,chardev=${tag}fs,tag=${tag},queue-size=1024`],
  ];
}

function virtiofsd(): string {
  const path = ['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd'].find(existsSync);
  if (!path) throw new Error('no virtiofsd: install qemu-system-common (Debian 12) or virtiofsd');
  return path;
}

/** A child that does not outlive this process, however that ends. */
function spawnChild(file: string, args: string[], log: number): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', file, ...args], { stdio: ['ignore', log, log] });
}

async function lastWords(run: string): Promise<string> {
  const logs = ['console', 'qemu.log', 'root.log', 'results.log'];
  const texts = await Promise.all(logs.map((name) => readFile(join(run, name), 'utf8').catch(() => '')));
  return texts
    .flatMap((text) => text.trimEnd().split('\n').slice(-60))
    .filter(Boolean)
    .join('\n');
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
