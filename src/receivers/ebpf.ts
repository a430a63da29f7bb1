import type { Logger } from 'pino';
import {
  type CountingOptions,
  DEFAULT_LIMITS,
  type Footprint,
  footprintOf,
  type Limits,
  stripesFor,
} from '../bpf/counting.js';
import { FEATURES, probeFeatures } from '../bpf/features.js';
import { InsideTls } from '../bpf/inside-tls.js';
import { acquire, type Instance } from '../bpf/instance.js';
import { libbpf } from '../bpf/libbpf.js';
import { shippedObject } from '../bpf/object.js';
import { MeshtapError } from '../errors.js';
import { Sweeper } from './ebpf-sweep.js';
import type { Prefix, Receiver, ReceiverContext, RunningReceiver } from './receiver.js';
import { TlsWatcher } from './tls/watcher.js';

export interface EbpfOptions {
  /** The cgroup-v2 directory to watch, with all below it. */
  cgroup: string;
  /** Name under which maps and programs are pinned: they count on without this process. @default none */
  instance?: string;
  /** Pin nothing, whatever `instance` says. @default true without `instance` */
  ephemeral?: boolean;
  /** Forget what was counted before. @default false */
  fresh?: boolean;
  /** How many entries there may be. @default 2048 pairs, 8192 series, 4096 early segments, 2048 lookups, 512 names */
  limits?: Partial<Limits>;
  /**
   * Read inside TLS, where processes of the cgroup use OpenSSL, in Node, too. Probes cost whoever uses the same files
   * microseconds per call. Needs BTF of the kernel. @default false
   */
  tls?: boolean;
  /** A series without traffic for so long makes room for others, milliseconds. @default 3600000, an hour */
  idleAfter?: number;
  /** Single requests and connections per second that are shown at most, to all who watch together. @default 5000 */
  flowRate?: number;
}

/** What the running receiver does besides what all do. */
export interface RunningEbpf extends RunningReceiver {
  setPrefixes(prefixes: readonly Prefix[]): void;
}

/** `ebpf` before it starts. */
export interface EbpfReceiver extends Receiver {
  start(context: ReceiverContext): Promise<RunningEbpf>;
}

const HOUR = 3_600_000;
const FLOW_RATE = 5000;
const nobody = () => ({ source: undefined, destination: undefined });
const NANOSECONDS = 1e9;

/** Kernel memory that `ebpf` with these limits takes at most on this machine, bytes. Needs libbpf. */
export const ebpfFootprint = (limits: Partial<Limits> = {}): Footprint =>
  footprintOf({ ...DEFAULT_LIMITS, ...limits }, libbpf().libbpf_num_possible_cpus());

/**
 * Counts what this machine's kernel sees of a cgroup's connections. Needs root, libbpf and Linux 5.10.
 *
 * Starting rejects with `NOT_ROOT`, `LIBBPF_MISSING`, `NOT_SUPPORTED`, `VERIFIER_REFUSED`, `CGROUP_INVALID`,
 * `INSTANCE_BUSY`, `BPFFS_MISSING` or `OBJECT_MISSING`.
 */
export function ebpf({
  cgroup,
  instance,
  ephemeral = instance === undefined,
  fresh = false,
  limits,
  tls = false,
  idleAfter = HOUR,
  flowRate = FLOW_RATE,
}: EbpfOptions): EbpfReceiver {
  return {
    name: 'ebpf',
    async start({ log, boundaries, signal, flows, nameEnds = nobody }) {
      signal.throwIfAborted();
      const counting: CountingOptions = {
        boundaries: boundaries.map((seconds) => BigInt(Math.round(seconds * NANOSECONDS))),
        limits: { ...DEFAULT_LIMITS, ...limits },
        stripes: stripesFor(libbpf().libbpf_num_possible_cpus()),
      };
      const acquired = await orNotSupported(
        acquire({
          ...counting,
          object: shippedObject('meshtap'),
          cgroup,
          instance: ephemeral ? undefined : instance,
          fresh,
          trace: (step) => log.debug({ cgroup, instance }, step),
        }),
      );
      if (signal.aborted) {
        acquired.close();
        signal.throwIfAborted();
      }
      for (const sentence of acquired.lost) log.warn(sentence);
      const insideTls = tls ? await readInsideTls(acquired, counting, log) : undefined;
      const footprint = ebpfFootprint(limits);
      const watch = flows && { sink: flows, nameEnds, rate: flowRate, log };
      return new Sweeper(acquired, { ...counting, idleAfter, footprint, insideTls, watch });
    },
  };
}

/** Connections that can be read inside at a time. */
const TLS_CONNECTIONS = 1024;

/** What reads inside TLS, or why nothing does: all else is counted without it. */
async function readInsideTls(
  { cgroup, maps }: Instance,
  counting: CountingOptions,
  log: Logger,
): Promise<TlsWatcher | MeshtapError> {
  try {
    const inside = await InsideTls.load({
      ...counting,
      maps,
      cgroup: cgroup.path,
      connections: TLS_CONNECTIONS,
    });
    return new TlsWatcher({ cgroup: cgroup.path, inside, log });
  } catch (error) {
    if (!(error instanceof MeshtapError)) throw error;
    log.warn({ err: error }, 'inside TLS nothing is read');
    return error;
  }
}

/** A refusal by a kernel that lacks what meshtap needs says what that is. */
async function orNotSupported<T>(starting: Promise<T>): Promise<T> {
  try {
    return await starting;
  } catch (cause) {
    if (!(cause instanceof MeshtapError) || !['VERIFIER_REFUSED', 'BPF_FAILED'].includes(cause.code))
      throw cause;
    const missing = probeFeatures(FEATURES.filter((feature) => feature.required))
      .filter((feature) => feature.state === 'not supported')
      .map((feature) => `${feature.name} (Linux ${feature.since})`);
    if (missing.length === 0) throw cause;
    throw new MeshtapError('NOT_SUPPORTED', `this kernel has no ${missing.join(', no ')}`, {
      hint: 'meshtap needs Linux 5.10 or later',
      cause,
    });
  }
}
