import { hostname } from 'node:os';
import type { MetricProducer } from '@opentelemetry/sdk-metrics';
import { type Logger, pino } from 'pino';
import { boundaryProblem, DEFAULT_BOUNDARIES } from './config/boundaries.js';
import { disposeAll } from './dispose.js';
import { explain, MeshtapError } from './errors.js';
import type { Exporter, ExporterContext, RunningExporter } from './exporters/exporter.js';
import { FlowHub, type FlowHubOptions } from './flows/hub.js';
import { cgroup } from './identity/cgroup.js';
import { type Chain, startChain } from './identity/chain.js';
import type { Resolver } from './identity/identity.js';
import { createCollector } from './metrics/collector.js';
import type { Dialect } from './metrics/dialects/dialect.js';
import { hubble } from './metrics/dialects/hubble.js';
import { istio } from './metrics/dialects/istio.js';
import { otel } from './metrics/dialects/otel.js';
import type { MetricFamily } from './metrics/family.js';
import type { Identify, Snapshot } from './metrics/model.js';
import { createProducer } from './metrics/producer.js';
import { identityHealth } from './metrics/self.js';
import { VERSION } from './metrics/version.js';
import type { Counts, Pair } from './receivers/counts.js';
import type { Receiver, ReceiverStatus, RunningReceiver } from './receivers/receiver.js';
import type { ServiceRoutes } from './routes/services.js';

const DIALECTS = { otel, hubble, istio };

/** A set of metric names that meshtap has. */
export type DialectName = keyof typeof DIALECTS;

export interface AgentOptions {
  /** Where counts come from: `ebpf({ cgroup })`. At least one. */
  receivers: readonly Receiver[];
  /** Who gives names, asked in this order. @default [cgroup()] */
  resolvers?: readonly Resolver[];
  /** Where numbers go, besides `collect` and `producer`. @default none */
  exporters?: readonly Exporter[];
  /** Under which names: the known ones by name, others as values. @default ['otel'] */
  dialects?: readonly (DialectName | Dialect)[];
  /** Upper bounds of the latency buckets, seconds, ascending, at most 23. @default 100 us to 60 s in 18 steps */
  boundaries?: readonly number[];
  /** Added to `service.name`, `service.version` and `host.name`. @default {} */
  resource?: Readonly<Record<string, string>>;
  /** How many names of ends are kept in memory. @default 65536 */
  identities?: number;
  /** Milliseconds after which a name that nobody has any more goes into the overflow points. @default 3600000, an hour */
  foldAfter?: number;
  /**
   * How long an end that may be told a name any moment is held back at most, milliseconds: a pod that the API server has
   * not told of yet. What is counted there is reported then, under its name. @default 30000
   */
  waitForNames?: number;
  /** A file in /run that keeps names of pods and containers that are gone for the next agent. @default none */
  names?: string;
  /** How many flows are kept, and what is taken out of them. @default 4096, everything that may be a secret */
  flows?: FlowHubOptions;
  /** Patterns of paths: what they match has the label `http.route`. @default none */
  routes?: readonly ServiceRoutes[];
  /** Families about the process, asked at each collection. @default none */
  self?: () => readonly MetricFamily[];
  /** @default silent */
  log?: Logger;
  /** Closes the agent. @default never */
  signal?: AbortSignal;
}

/** What an agent does and how it is. */
export interface AgentStatus {
  readonly receivers: Readonly<Record<string, ReceiverStatus>>;
  /** By resolver, in words. */
  readonly resolvers: Readonly<Record<string, string>>;
  /** Address by exporter. */
  readonly exporters: Readonly<Record<string, string>>;
  readonly dialects: readonly string[];
  /** From one fresh sweep; if it failed, why. */
  readonly counts: Pick<Counts, 'startedAt' | 'ledger' | 'budgets'> | { readonly failed: string };
}

export interface Agent extends AsyncDisposable {
  /** All families of all dialects, from one fresh sweep. Rejects with a MeshtapError if the sweep failed. */
  collect(): Promise<readonly MetricFamily[]>;
  /** The same before it becomes metrics: rows of counts between named ends. Rejects as `collect` does. */
  snapshot(): Promise<Snapshot>;
  /** The same numbers as a source for OpenTelemetry readers: `new PrometheusExporter({ metricProducers: [...] })`. */
  readonly producer: MetricProducer;
  /** Single requests, of receivers that have them. */
  readonly flows: FlowHub;
  status(): Promise<AgentStatus>;
  /**
   * Replaces all routes, from the next request on; nothing is lost or stopped for it. Rejects with PATTERN_REFUSED, and
   * those before stay in force.
   */
  setRoutes(routes: readonly ServiceRoutes[]): Promise<void>;
}

/**
 * Starts receivers, resolvers and exporters and connects them. Rejects with the MeshtapError of whatever could not
 * start; then all that had started is closed again.
 *
 * @example
 * await using agent = await createAgent({
 *   receivers: [ebpf({ cgroup: '/sys/fs/cgroup/shop' })],
 *   exporters: [prometheus()],
 * });
 */
export async function createAgent({
  receivers,
  resolvers = [cgroup()],
  exporters = [],
  dialects = ['otel'],
  boundaries = DEFAULT_BOUNDARIES,
  resource = {},
  identities,
  foldAfter,
  waitForNames,
  names: memory,
  flows: flowOptions,
  routes,
  self = () => [],
  log = pino({ level: 'silent' }),
  signal = new AbortController().signal,
}: AgentOptions): Promise<Agent> {
  checkOptions(receivers, boundaries);
  const chosen = dialects.map((dialect) => (typeof dialect === 'string' ? DIALECTS[dialect]() : dialect));
  const flows = new FlowHub(flowOptions);
  const names: Chain[] = [];
  const sources = new Map<string, RunningReceiver>();
  const sinks = new Map<string, RunningExporter>();

  // Until receivers run nothing was counted under any name.
  let settle = async () => {};
  let setPrefixes = () => {};

  // Exporters go first: with the last numbers that they fetch.
  let closing: Promise<void> | undefined;
  const close = () => {
    signal.removeEventListener('abort', onAbort);
    closing ??= disposeAll([...names, ...sources.values(), ...sinks.values()]);
    return closing;
  };
  const onAbort = () => void close().catch((error: unknown) => log.error({ err: error }, 'closing'));

  try {
    signal.throwIfAborted();
    const chain = await startChain(
      {
        resolvers,
        host: {
          log: log.child({ part: 'identity' }),
          settle: () => settle().catch((error: unknown) => log.debug({ err: error }, 'settling names')),
          prefixesChanged: () => setPrefixes(),
        },
        ...(identities !== undefined && { limit: identities }),
        ...(waitForNames !== undefined && { wait: waitForNames }),
        ...(memory !== undefined && { memory }),
      },
      signal,
    );
    names.push(chain);
    const identify = identifierOf(chain);
    setPrefixes = once(() => {
      try {
        for (const source of sources.values()) source.setPrefixes?.(chain.prefixes());
      } catch (error) {
        log.error({ err: error }, 'addresses of the cluster are counted as world');
      }
    });

    // Exporters start before receivers, so that a port in use is found before the kernel is touched.
    const collector = createCollector({
      sources() {
        if (sources.size < receivers.length) throw new MeshtapError('NOT_READY', 'meshtap is starting');
        return [...sources.values()];
      },
      identify,
      dialects: chosen,
      foldAfter,
      self: () => [
        ...self(),
        ...identityHealth(chain.health()),
        ...[...sinks.values()].flatMap((sink) => sink.families?.() ?? []),
      ],
    });
    const { collect, sweep } = collector;
    const producer = createProducer({ collect });
    const context: Omit<ExporterContext, 'log'> = {
      collect,
      producer,
      resource: {
        'service.name': 'meshtap',
        'service.version': VERSION,
        'host.name': hostname(),
        ...resource,
      },
      ready: () =>
        sources.size === receivers.length &&
        [...sources.values()].every((source) => source.status().state === 'running'),
    };
    for (const exporter of exporters) {
      signal.throwIfAborted();
      const running = await exporter.start({ ...context, log: log.child({ exporter: exporter.name }) });
      sinks.set(unique(exporter.name, sinks), running);
    }
    for (const receiver of receivers) {
      signal.throwIfAborted();
      const running = await receiver.start({
        log: log.child({ receiver: receiver.name }),
        boundaries,
        signal,
        flows,
        nameEnds: identify,
      });
      sources.set(unique(receiver.name, sources), running);
      running.setPrefixes?.(chain.prefixes());
    }
    settle = collector.settle;
    const setRoutes = async (next: readonly ServiceRoutes[]) => {
      const serverOf = (pair: Pair) => identify(pair).destination;
      await Promise.all([...sources.values()].map((source) => source.setRoutes?.(next, serverOf)));
    };
    // Without any, those of a former process end.
    await setRoutes(routes ?? []);
    signal.throwIfAborted();
    signal.addEventListener('abort', onAbort);

    return {
      collect,
      producer,
      flows,
      setRoutes,
      snapshot: async () => (await sweep()).snapshot,
      async status() {
        return {
          receivers: mapValues(sources, (source) => source.status()),
          resolvers: chain.status(),
          exporters: mapValues(sinks, ({ address }) => address),
          dialects: chosen.map(({ name }) => name),
          counts: await sweep().then(
            ({ counts }) => counts,
            (error: unknown) => ({ failed: explain(error) }),
          ),
        };
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    // What could not start is the news; what then could not be closed as well is for the log.
    await close().catch((cause: unknown) => log.error({ err: cause }, 'closing after a failed start'));
    throw error;
  }
}

function checkOptions(receivers: readonly Receiver[], boundaries: readonly number[]): void {
  if (receivers.length === 0)
    throw new MeshtapError('CONFIG_INVALID', 'an agent needs at least one receiver');
  const problem = boundaryProblem(boundaries);
  if (problem) throw new MeshtapError('CONFIG_INVALID', `boundaries: expected ${problem.accepted}`);
}

/** Asks the chain about both ends of a pair, and puts them in the order of the connection. */
function identifierOf(chain: Chain): Identify {
  return ({ role, local, remote, port }: Pair) => {
    const server = chain.identify({ endpoint: role === 'server' ? local : remote, role: 'server', port });
    const client = chain.identify({
      endpoint: role === 'client' ? local : remote,
      role: 'client',
      port: undefined,
    });
    return { source: client, destination: server };
  };
}

/** Runs it after what is under way now, however often it is asked for until then. */
function once(run: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    setImmediate(() => {
      asked = false;
      run();
    });
  };
}

/** `ebpf`, `ebpf-2`: two of one kind are told apart. */
function unique(name: string, taken: ReadonlyMap<string, unknown>): string {
  let candidate = name;
  for (let number = 2; taken.has(candidate); number++) candidate = `${name}-${number}`;
  return candidate;
}

function mapValues<K extends string, V, R>(map: ReadonlyMap<K, V>, change: (value: V) => R): Record<K, R> {
  return Object.fromEntries([...map].map(([key, value]) => [key, change(value)])) as Record<K, R>;
}
