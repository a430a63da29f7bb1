import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { AgentOptions } from '../agent.js';
import type { Config } from '../config/schema.js';
import { MeshtapError } from '../errors.js';
import type { Exporter } from '../exporters/exporter.js';
import { prometheus } from '../exporters/prometheus.js';
import { cgroup } from '../identity/cgroup.js';
import { cgroupMount } from '../identity/cgroup-mount.js';
import { containers } from '../identity/containers.js';
import { dns } from '../identity/dns.js';
import type { Resolver } from '../identity/identity.js';
import { kubernetes } from '../identity/kubernetes.js';
import { local } from '../identity/local.js';
import { staticTable } from '../identity/static.js';
import { agentProcess } from '../metrics/self.js';
import { ebpf } from '../receivers/ebpf.js';
import { hubble } from '../receivers/hubble.js';
import type { Receiver } from '../receivers/receiver.js';
import { replay } from '../receivers/replay.js';
import { openApiRoutes } from '../routes/openapi.js';
import { type Route, readRoute } from '../routes/route.js';
import type { ServiceRoutes } from '../routes/services.js';
import { cgroupsOf, namesOf } from './runtime-files.js';

/** How an agent is run, beside its configuration. */
export interface RunOptions {
  /** Pin nothing: all ends with the process. */
  ephemeral?: boolean;
  /** Begin with counts of zero. */
  fresh?: boolean;
}

/** The agent that a configuration describes. */
export async function agentOptions(
  config: Config,
  run: RunOptions,
  log: Logger,
  signal?: AbortSignal,
): Promise<AgentOptions> {
  const { identity, limits, instance, foldAfter } = config;
  const kernel = config.receivers.ebpf ? kernelSources(config, run) : { receivers: [], resolvers: [] };
  return {
    receivers: [...kernel.receivers, ...flowReceivers(config)],
    resolvers: kernel.resolvers,
    exporters: await exportersOf(config),
    dialects: config.dialects,
    boundaries: config.boundaries,
    identities: limits.identities,
    foldAfter,
    waitForNames: identity.wait,
    ...(run.ephemeral || !config.receivers.ebpf ? {} : { names: namesOf(instance) }),
    routes: await routesOf(config),
    flows: config.flows,
    resource: { 'service.instance.id': `${hostname()}/${instance}`, ...config.resource },
    self: agentProcess,
    log,
    ...(signal && { signal }),
  };
}

/** This machine's kernel, and who can name what it sees. */
function kernelSources(
  config: Config,
  run: RunOptions,
): { receivers: readonly Receiver[]; resolvers: readonly Resolver[] } {
  const watched = watchedCgroup(config);
  const { identity, limits, instance, tls, idleAfter } = config;
  const { identities: _, flows: flowRate, ...budgets } = limits;
  const memory = run.ephemeral ? {} : { memory: cgroupsOf(instance) };
  const cgroups = cgroup({ watched, ...identity.cgroup, ...memory });
  const kubernetesNames = identity.kubernetes && kubernetes({ cgroups, watched, ...identity.kubernetes });
  const containerNames = containers({ cgroups, watched, ...identity.containers });
  const named = (path: string) => kubernetesNames?.ofPath(path) ?? containerNames.ofPath(path);
  return {
    receivers: [
      ebpf({ cgroup: watched, instance, limits: budgets, tls: tls.decode, idleAfter, flowRate, ...run }),
    ],
    resolvers: [
      staticTable({
        entries: identity.static,
        ...(identity.addresses && { addresses: identity.addresses }),
      }),
      // Before the cgroup of a socket: who opened it may have done so for another.
      ...(identity.local ? [local({ watched, named })] : []),
      ...(kubernetesNames ? [kubernetesNames] : []),
      containerNames,
      cgroups,
      ...(identity.dns.names ? [dns(identity.dns)] : []),
    ],
  };
}

/** Those that are given flows, and names with them. */
function flowReceivers({ receivers, limits: { pairs, series } }: Config): Receiver[] {
  const { replay: recorded, hubble: relay } = receivers;
  const limits = { pairs, series };
  return [
    ...(recorded
      ? [replay({ ...(recorded.file === '-' ? { input: process.stdin } : recorded), limits })]
      : []),
    ...(relay ? [hubble({ ...relay, limits })] : []),
  ];
}

/** The routes of a configuration, with those of the documents it names. Rejects with PATTERN_REFUSED or CONFIG_INVALID. */
export async function routesOf({ routes }: Pick<Config, 'routes'>): Promise<ServiceRoutes[]> {
  return Promise.all(
    routes.map(async ({ paths, expressions, openapi, ...service }) => ({
      ...service,
      routes: [
        ...paths.map((text) => readRoute(text, 'template')),
        ...expressions.map((text) => readRoute(text, 'regex')),
        ...(openapi === undefined ? [] : await documented(openapi)),
      ],
    })),
  );
}

async function documented(file: string): Promise<Route[]> {
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new MeshtapError('CONFIG_INVALID', `routes: ${file} can not be read: ${cause.message}`, { cause });
  });
  return openApiRoutes(text, file).map(({ method, template }) => ({
    ...(method !== undefined && { method }),
    pattern: template,
  }));
}

/** The directory to attach to: the whole machine, if nothing is said. */
export const watchedCgroup = (config: Pick<Config, 'cgroup'>): string => config.cgroup ?? cgroupMount();

/** Clients of OpenTelemetry are large: each is loaded only if it is asked for. */
async function exportersOf({ exporters }: Config): Promise<Exporter[]> {
  const { prometheus: own, otelPrometheus: stock, otlp } = exporters;
  const all: Exporter[] = [];
  if (own) {
    const { listen, ...rest } = own;
    all.push(prometheus({ ...listen, ...rest }));
  }
  if (stock) {
    const { otelPrometheus } = await import('../exporters/otel-prometheus.js');
    all.push(otelPrometheus(stock.listen));
  }
  if (otlp?.protocol === 'grpc') {
    const { otlpGrpc } = await import('../exporters/otlp-grpc.js');
    all.push(otlpGrpc(otlp));
  } else if (otlp) {
    const { otlpHttp } = await import('../exporters/otlp-http.js');
    all.push(otlpHttp(otlp));
  }
  return all;
}
