import { readdir, readFile, readlink } from 'node:fs/promises';

/** A TCP socket that listens, and the cgroup of who holds it. */
export interface Listener {
  /** `0.0.0.0` and `::` are any address. */
  readonly address: string;
  readonly port: number;
  /** Path of the cgroup; undefined if that is not certain: nobody, a forwarder or several cgroups hold the socket. */
  readonly cgroup: string | undefined;
}

/** Everyone who listens in one network namespace. */
export interface Namespace {
  /** Whether it is the namespace of this process. */
  readonly own: boolean;
  readonly listeners: readonly Listener[];
}

/** States of a TCP socket as `/proc/net/tcp` has them (`include/net/tcp_states.h`). */
const LISTEN = '0A';

/** Programs that listen for another one: what they stand for is in a container behind them. */
const FORWARDERS = ['docker-proxy', 'rootlessport', 'slirp4netns', 'pasta', 'kube-proxy'];

interface Process {
  readonly pid: string;
  readonly namespace: string;
  readonly cgroup: string | undefined;
}

/**
 * Reads every listening TCP socket of every network namespace that has processes. Takes a look at each open file of
 * each process, so it is not for every second; processes that end meanwhile are left out.
 */
export async function readListeners(): Promise<Namespace[]> {
  const own = await readlink('/proc/self/ns/net');
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const cgroupsOf = new Map<string, Set<string>>();
  const first = new Map<string, string>();
  // One process after the other: a machine has thousands of files open, and nobody waits for this.
  for (const { pid, namespace, cgroup } of await existing(pids.map(inspect))) {
    if (!first.has(namespace)) first.set(namespace, pid);
    // It holds listeners for the services that it starts.
    if (pid === '1') continue;
    for (const inode of await socketsOf(pid)) {
      const cgroups = cgroupsOf.get(inode) ?? new Set();
      cgroupsOf.set(inode, cgroups.add(cgroup ?? ''));
    }
  }
  const namespaces = [...first].map(async ([namespace, pid]) => ({
    own: namespace === own,
    listeners: await listenersOf(pid, cgroupsOf),
  }));
  return existing(namespaces);
}

async function inspect(pid: string): Promise<Process> {
  const [namespace, cgroups, program] = await Promise.all([
    readlink(`/proc/${pid}/ns/net`),
    readFile(`/proc/${pid}/cgroup`, 'utf8'),
    readFile(`/proc/${pid}/comm`, 'utf8'),
  ]);
  const cgroup = FORWARDERS.includes(program.trim()) ? undefined : cgroupOfProcess(cgroups);
  return { pid, namespace, cgroup };
}

/** The path in what `/proc/PID/cgroup` says: the line of version 2 begins with `0::` (cgroups(7)). */
export const cgroupOfProcess = (text: string): string | undefined => /^0::(\/.*)$/m.exec(text)?.[1];

async function socketsOf(pid: string): Promise<string[]> {
  const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await existing(files.map((fd) => readlink(`/proc/${pid}/fd/${fd}`)));
  return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []);
}

async function listenersOf(pid: string, cgroupsOf: Map<string, Set<string>>): Promise<Listener[]> {
  const tables = await existing(
    ['tcp', 'tcp6'].map((table) => readFile(`/proc/${pid}/net/${table}`, 'utf8')),
  );
  return tables.flatMap((table) =>
    table
      .split('\n')
      .slice(1)
      .flatMap((line) => {
        // sl, local_address, rem_address, st, ... inode is the tenth (proc_net_tcp.rst).
        const fields = line.trim().split(/\s+/);
        const [, local = '', , state, , , , , , inode = ''] = fields;
        if (state !== LISTEN) return [];
        const [address = '', port = ''] = local.split(':');
        const [cgroup, ...others] = cgroupsOf.get(inode) ?? [];
        return {
          address: addressOf(address),
          port: Number.parseInt(port, 16),
          cgroup: others.length === 0 && cgroup ? cgroup : undefined,
        };
      }),
  );
}

/** Four bytes at a time in the byte order of the machine, which is little on all that meshtap runs on. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex').swap32();
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return words.join(':');
}

/** What came of those that did not fail: files of processes vanish while one reads them. */
async function existing<T>(attempts: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(attempts);
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}
