import type { Logger } from 'pino';
import type { InsideTls } from '../../bpf/inside-tls.js';
import type { Uprobe } from '../../bpf/uprobe.js';
import { explain } from '../../errors.js';
import { type PlacedProbe, probesFor } from './files.js';
import {
  executableOf,
  identityOf,
  imageOf,
  type MappedFile,
  mappedFiles,
  nameOf,
  processesIn,
} from './processes.js';

/** Milliseconds between two looks at the processes; a connection that is older than the probes is read from its middle. */
const LOOK = 250;
/** Whether a process executes something else is asked at each of its first looks, then at each so-manieth. */
const YOUNG = 8;
const OFTEN = 4;
/** Whether it has loaded a library by now is asked as often at first, and after so many looks at each so-manieth. */
const SELDOM = 32;
/** A file that no process uses any more keeps its probes for so many looks: most come back. */
const KEPT = 240;

/**
 * The kernel takes about 100 ms for each probe that ends, one after the other. While so many wait for it, no process is
 * probed anew: what is short-lived comes and goes faster than that.
 */
const MOST_ENDING = 256;

/** What is probed: a file, for all processes that have it mapped, or one process's copy of it. */
interface Probed {
  readonly probes: readonly Uprobe[];
  /** ns of the monotonic clock, when all of them were there. */
  readonly since: bigint;
  /** Looks in a row at which no process used it. */
  idle: number;
  /** Its probes are ending. Those that are set beside them would run twice. */
  over: boolean;
}

interface Watched {
  readonly image: string;
  /** Paths of the files that were looked at: a process may have several libraries. */
  readonly seen: Set<string>;
  /** Those of its files that are probed for all. */
  readonly shared: Set<Probed>;
  /** Those that are probed for it alone. */
  readonly own: Set<Probed>;
  looks: number;
  problem: string | undefined;
}

export interface TlsWatcherOptions {
  /** The cgroup-v2 directory whose processes are read, with all below it. */
  readonly cgroup: string;
  readonly inside: InsideTls;
  readonly log: Logger;
}

/**
 * Sees to it that every TLS library which processes of a cgroup use is probed, as far as it can be read. Probes are set at
 * the file, once for all its processes and for those to come; where one can not tell which file it is, at each process.
 */
export class TlsWatcher implements AsyncDisposable {
  readonly #options: TlsWatcherOptions;
  readonly #processes = new Map<number, Watched>();
  readonly #files = new Map<string, Probed>();
  readonly #timer: NodeJS.Timeout;
  #closed = false;
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
    const uncertain = inside.uncertain
      .filter((pid) => this.#processes.has(pid))
      .map((pid) => `${nameOf(pid)}: it is not certain which of its connections some calls are on`);
    const reasons = [...failed, ...uncertain];
    const probed = [...this.#files.values(), ...watched.flatMap(({ own }) => [...own])];
    return {
      'processes read inside TLS': watched.filter(({ own, shared }) => own.size + shared.size > 0).length,
      'TLS libraries probed': probed.length,
      'TLS probes': probed.reduce((sum, { probes }) => sum + probes.length, 0),
      ...(this.#ending > 0 && { 'TLS probes that end': this.#ending }),
      'connections read inside TLS': `${inside.used} of ${inside.connections}`,
      ...(reasons.length > 0 && { 'TLS not read': reasons.join('; ') }),
      ...(this.#failure !== undefined && { 'TLS problem': this.#failure }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const pid of [...this.#processes.keys()]) this.#leave(pid);
    this.#closed = true;
    this.#options.inside.seeAllOfOthers(0n);
    for (const { probes, over } of this.#files.values()) if (!over) this.#end(probes);
    await this.#ended;
    this.#options.inside.close();
  }

  #look(): void {
    try {
      this.#options.inside.sweep();
      const there = new Set(processesIn(this.#options.cgroup));
      for (const pid of [...this.#processes.keys()]) if (!there.has(pid)) this.#leave(pid);
      for (const pid of there) this.#see(pid);
      this.#dropUnused();
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
      watched = { image, seen: new Set(), shared: new Set(), own: new Set(), looks: 0, problem: undefined };
      this.#processes.set(pid, watched);
    }
    const looks = ++watched.looks;
    if (looks < SELDOM || (looks + pid) % SELDOM < OFTEN) this.#probe(pid, watched);
  }

  #probe(pid: number, watched: Watched): void {
    const executable = executableOf(pid);
    for (const file of mappedFiles(pid)) {
      if (watched.seen.has(file.path)) continue;
      try {
        const probes = probesFor(file, file.path === executable);
        if (!probes) watched.seen.add(file.path);
        else this.#probeFile(pid, watched, file, probes);
      } catch (error) {
        watched.seen.add(file.path);
        // it may have ended meanwhile
        if (imageOf(pid) === watched.image) {
          watched.problem = explain(error);
          this.#options.log.warn({ err: error, pid, file: file.path }, 'TLS of a process is not read');
        }
      }
    }
  }

  #probeFile(pid: number, watched: Watched, file: MappedFile, probes: readonly PlacedProbe[]): void {
    const { inside, log } = this.#options;
    const identity = identityOf(file.here);
    if (identity === undefined) {
      // at the first look it may be about to execute something else, or to end
      if (watched.looks === 1 || this.#ending > MOST_ENDING) return;
      inside.seeAllOf(pid, 0n);
      watched.own.add(this.#attach(pid, file, probes));
    } else {
      const shared = this.#files.get(identity) ?? this.#share(identity, file, probes);
      if (shared.over) return;
      watched.shared.add(shared);
    }
    watched.seen.add(file.path);
    const since = [...watched.own, ...watched.shared].map((probed) => probed.since);
    inside.seeAllOf(
      pid,
      since.reduce((last, one) => (one > last ? one : last)),
    );
    log.debug({ pid, file: file.path, shared: identity !== undefined }, 'reads inside TLS');
  }

  /** Until all probes of a file are there, and while they end, nothing new of processes is read that were not met yet. */
  #share(identity: string, file: MappedFile, probes: readonly PlacedProbe[]): Probed {
    const { inside } = this.#options;
    inside.seeAllOfOthers(0n);
    try {
      const shared = this.#attach(-1, file, probes);
      this.#files.set(identity, shared);
      return shared;
    } finally {
      this.#seeOthersAgain();
    }
  }

  #unshare(identity: string, shared: Probed): void {
    shared.over = true;
    this.#options.inside.seeAllOfOthers(0n);
    this.#end(shared.probes);
    this.#ended = this.#ended.then(() => {
      this.#files.delete(identity);
    });
    this.#seeOthersAgain();
  }

  /** As soon as no probe is ending. */
  #seeOthersAgain(): void {
    if (this.#closed) return;
    if (this.#ending === 0) this.#options.inside.seeAllOfOthers(process.hrtime.bigint());
    else void this.#ended.then(() => this.#seeOthersAgain());
  }

  /** All of the probes, or none. pid: -1 for all processes. */
  #attach(pid: number, file: MappedFile, placed: readonly PlacedProbe[]): Probed {
    const probes: Uprobe[] = [];
    try {
      for (const { symbol, offset, program, atReturn = false } of placed)
        probes.push(this.#options.inside.attach(program, { pid, file: file.here, symbol, offset, atReturn }));
      return { probes, since: process.hrtime.bigint(), idle: 0, over: false };
    } catch (error) {
      this.#end(probes);
      throw error;
    }
  }

  #dropUnused(): void {
    const used = new Set([...this.#processes.values()].flatMap(({ shared }) => [...shared]));
    for (const [identity, probed] of this.#files) {
      probed.idle = used.has(probed) ? 0 : probed.idle + 1;
      if (probed.idle > KEPT && !probed.over) this.#unshare(identity, probed);
    }
  }

  #leave(pid: number): void {
    const watched = this.#processes.get(pid);
    this.#processes.delete(pid);
    this.#options.inside.forget(pid);
    for (const { probes } of watched?.own ?? []) this.#end(probes);
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
