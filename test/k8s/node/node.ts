import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CgroupTrees } from './cgroup-trees.js';

const boot = join(import.meta.dirname, 'boot.sh');
const STATE = join(tmpdir(), 'meshtap-k8s-');

/**
 * A machine within the machine: mounts, processes and network of its own, joined to this one by a cable; and a
 * directory of its own in every cgroup hierarchy. It ends with this process, however that ends, and everything that
 * was started in it ends with it.
 */
export class Node implements AsyncDisposable {
  /** What it writes: everything below `/var/lib` and `/var/log` there is here in `lib` and `log`. */
  readonly state: string;
  /** Its first process, as this machine counts. */
  readonly pid: number;
  /** Where it is reached from this machine, and this machine from there. Not private ones: this machine is outside. */
  readonly address: string;
  readonly outside: string;
  readonly cgroups: CgroupTrees;
  readonly #init: ChildProcess;
  readonly #started = new Map<string, ChildProcess>();

  /** Also removes what was left by one whose process was killed. */
  static async start(): Promise<Node> {
    removeStale();
    const state = `${STATE}${process.pid}`;
    mkdirSync(join(state, 'log'), { recursive: true });
    const namespaces = '--mount --propagation private --pid --net --uts --fork --kill-child=KILL'.split(' ');
    const init = spawn(...untilWeEnd(['unshare', ...namespaces, 'bash', boot, state]), {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface(init.stdout!);
    const [pid] = await Promise.race([once(lines, 'line'), once(init, 'exit').then(() => [])]);
    if (pid === undefined) throw new Error('the node did not start, see above');
    try {
      return new Node(state, init, Number(pid));
    } catch (error) {
      await ended(init);
      throw error;
    }
  }

  private constructor(state: string, init: ChildProcess, pid: number) {
    this.state = state;
    this.#init = init;
    this.pid = pid;
    [this.outside, this.address] = this.#layCable();
    this.cgroups = new CgroupTrees();
  }

  /** Four addresses of those that are set aside for tests between devices (RFC 2544), by our own number. */
  #layCable(): [string, string] {
    const base = `198.18.${(process.pid >> 6) & 255}`;
    const first = (process.pid & 63) * 4;
    const [outside, inside] = [`${base}.${first + 1}`, `${base}.${first + 2}`];
    const cable = `meshk8s${process.pid}`;
    ip(`link add ${cable} type veth peer name eth0 netns ${this.pid}`);
    ip(`address add ${outside}/30 dev ${cable}`);
    ip(`link set ${cable} up`);
    const there = (command: string) => this.run(['ip', ...command.split(' ')]);
    there(`address add ${inside}/30 dev eth0`);
    there('link set eth0 up');
    there(`route add default via ${outside}`);
    return [outside, inside];
  }

  /** The command that runs that command there. */
  command(command: readonly string[]): [string, string[]] {
    const there = ['--target', String(this.pid), '--mount', '--pid', '--net', '--uts', '--wd=/'];
    return ['nsenter', [...there, 'setpriv', '--pdeathsig', 'KILL', ...command]];
  }

  /** Runs a command there to its end. @returns what it wrote to standard output */
  run(command: readonly string[]): string {
    return execFileSync(...this.command(command), { encoding: 'utf8', maxBuffer: 2 ** 26 });
  }

  /** Starts a program that stays, and again if it is killed; what it writes goes to `NAME.log`. */
  start(name: string, command: readonly string[]): void {
    const log = openSync(this.logOf(name), 'a');
    const child = spawn(...this.command(command), { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#started.set(name, child);
    child.once('exit', (_, signal) => {
      if (signal && this.#init.exitCode === null && this.#init.signalCode === null) this.start(name, command);
    });
  }

  logOf(name: string): string {
    return join(this.state, `${name}.log`);
  }

  /** The end of a program's log, if it has ended by itself. */
  lastWords(): string | undefined {
    for (const [name, { exitCode, signalCode }] of this.#started) {
      if (exitCode === null && signalCode === null) continue;
      const tail = readFileSync(this.logOf(name), 'utf8').split('\n').slice(-15).join('\n');
      return `${name} ended (${exitCode ?? signalCode}):\n${tail}`;
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ended(this.#init); // and with it all that ran there, the mounts, the network and our end of the cable
    await this.cgroups[Symbol.asyncDispose]();
    rmSync(this.state, { recursive: true, force: true });
  }
}

/** What processes left that were killed: files and cgroups. All else ended with them. */
function removeStale(): void {
  CgroupTrees.removeStale();
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = /^meshtap-k8s-(?:images-)?(\d+)$/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(tmpdir(), name), { recursive: true });
  }
}

/** A command that does not outlive this process. */
function untilWeEnd([file, ...args]: readonly string[]): [string, string[]] {
  return ['setpriv', ['--pdeathsig', 'KILL', file!, ...args]];
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

function ip(command: string): void {
  execFileSync('ip', command.split(' '));
}
