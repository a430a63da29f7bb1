import type { Logger } from 'pino';
import type { InsideTls } from '../../bpf/inside-tls.js';
import type { Uprobe } from '../../bpf/uprobe.js';
import { explain } from '../../errors.js';
import { probesFor } from './files.js';
import { executableOf, imageOf, mappedFiles, nameOf, processesIn } from './processes.js';

/** Milliseconds between two looks at the processes; a connection that is older than the probes is read from its middle. */
const LOOK = 250;
/** Whether a process executes something else is asked at each of its first looks, then at each so-manieth. */
const YOUNG = 8;
const OFTEN = 4;
/** Whether it has loaded a library by now is asked as often at first, and after so many looks at each so-manieth. */
const SELDOM = 32;

/**
 * The kernel takes about 100 ms for each probe that ends, one after the other. While so many wait for it, no process is
 * probed anew: what is short-lived comes and goes faster than that.
 */
const MOST_ENDING = 256;

interface Watched {
  readonly image: string;
  readonly probes: Uprobe[];
  /** Paths of the files that were looked at: a process may have several libraries. */
  readonly files: Set<string>;
  looks: number;
  problem: string | undefined;
}

export interface TlsWatcherOptions {
  /** The cgroup-v2 directory whose processes are probed, with all below it. */
  readonly cgroup: string;
  readonly inside: InsideTls;
  readonly log: Logger;
}

/** Sees to it that every process of a cgroup which uses a TLS library that can be read is probed, and no other. */
export class TlsWatcher implements AsyncDisposable {
  readonly #options: TlsWatcherOptions;
  readonly #processes = new Map<number, Watched>();
  readonly #timer: NodeJS.Timeout;
  #failure: string | undefined;
  /** Probes that are about to end, and when the last of them will have. */
  #ending = 0;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: TlsWatcherOptions) {
    this.#options = options;
    this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK);
    this.#timer.unref();
  }

  /** What is probed, in numbers. */
  status(): Readonly<Record<string, string | number>> {
    const watched = [...this.#processes.values()];
    const { inside } = this.#options;
    const failed = [...this.#processes].flatMap(([pid, { problem }]) =>
      problem === undefined ? [] : [`${nameOf(pid)}: ${problem}`],
    );
    const uncertain = inside.uncertain.map(
      (pid) => `${nameOf(pid)}: it is not certain which of its connections some calls are on`,
    );
    const reasons = [...failed, ...uncertain];
    return {
      'processes read inside TLS': watched.filter(({ probes }) => probes.length > 0).length,
      'TLS probes': watched.reduce((sum, { probes }) => sum + probes.length, 0),
      ...(this.#ending > 0 && { 'TLS probes that end': this.#ending }),
      'connections read inside TLS': `${inside.used} of ${inside.connections}`,
      ...(reasons.length > 0 && { 'TLS not read': reasons.join('; ') }),
      ...(this.#failure !== undefined && { 'TLS problem': this.#failure }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const pid of [...this.#processes.keys()]) this.#leave(pid);
    await this.#ended;
    this.#options.inside.close();
  }

  #look(): void {
    try {
      this.#options.inside.sweep();
      const there = new Set(processesIn(this.#options.cgroup));
      for (const pid of [...this.#processes.keys()]) if (!there.has(pid)) this.#leave(pid);
      for (const pid of there) this.#see(pid);
      this.#failure = undefined;
    } catch (error) {
      if (this.#failure === undefined) this.#options.log.error({ err: error }, 'reading inside TLS');
      this.#failure = explain(error);
    }
  }

  #see(pid: number): void {
    let watched = this.#processes.get(pid);
    if (watched && watched.looks >= YOUNG && (watched.looks + pid) % OFTEN !== 0) {
      watched.looks++;
      return;
    }
    const image = imageOf(pid);
    if (watched && watched.image !== image) {
      this.#leave(pid);
      watched = undefined;
    }
    if (image === undefined) return;
    if (!watched) {
      // at the first look it may be about to execute something else, or to end
      this.#processes.set(pid, { image, probes: [], files: new Set(), looks: 1, problem: undefined });
      return;
    }
    const looks = ++watched.looks;
    const due = looks < SELDOM || (looks + pid) % SELDOM < OFTEN;
    if (due && this.#ending <= MOST_ENDING) this.#probe(pid, watched);
  }

  #probe(pid: number, watched: Watched): void {
    const executable = executableOf(pid);
    for (const file of mappedFiles(pid)) {
      const { path, here } = file;
      if (watched.files.has(path)) continue;
      watched.files.add(path);
      const set: Uprobe[] = [];
      try {
        for (const probe of probesFor(file, path === executable) ?? []) {
          const { symbol, offset, program, atReturn = false } = probe;
          set.push(this.#options.inside.attach(program, { pid, file: here, symbol, offset, atReturn }));
        }
        if (set.length === 0) continue;
        watched.probes.push(...set);
        this.#options.inside.seeAllOf(pid);
        this.#options.log.debug({ pid, file: path }, 'reads inside TLS');
      } catch (error) {
        this.#end(set);
        // it may have ended meanwhile
        if (imageOf(pid) === watched.image) {
          watched.problem = explain(error);
          this.#options.log.warn({ err: error, pid, file: path }, 'TLS of a process is not read');
        }
      }
    }
  }

  #leave(pid: number): void {
    const watched = this.#processes.get(pid);
    this.#processes.delete(pid);
    this.#options.inside.forget(pid);
    this.#end(watched?.probes ?? []);
  }

  #end(probes: readonly Uprobe[]): void {
    this.#ending += probes.length;
    for (const probe of probes) {
      this.#ended = this.#ended
        .then(() => probe[Symbol.asyncDispose]())
        .catch((error: unknown) => this.#options.log.error({ err: error }, 'ending a probe'))
        .finally(() => {
          this.#ending--;
        });
    }
  }
}
