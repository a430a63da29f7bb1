import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import { placeOf } from './cgroup-mount.js';
import { podOfPath } from './cgroup-name.js';
import type { Identity, Resolver, ResolverHost } from './identity.js';
import { ApiError, KubernetesApi, type Patience } from './kubernetes-api.js';
import { ClusterState, type Found } from './kubernetes-cluster.js';
import { type Cluster, fromKubeconfig, inCluster } from './kubernetes-credentials.js';
import {
  type Controller,
  controllerOf,
  type Node,
  nodeOf,
  type Pod,
  podOf,
  type RawEndpoints,
  type RawSlice,
  type Service,
  type Slice,
  serviceOf,
  sliceOf,
  sliceOfEndpoints,
} from './kubernetes-objects.js';
import { Reflector, type ReflectorOptions, type Resource, type Sink } from './kubernetes-reflector.js';

/** What a pod's label or annotation may be asked for its service's name; the default order. */
export const SERVICE_NAME: readonly string[] = [
  'annotation',
  'service',
  'label:app.kubernetes.io/name',
  'label:app',
  'workload',
];

export interface KubernetesOptions {
  /** Who knows the paths of cgroups: the `cgroup` resolver of the same chain. */
  cgroups: { pathOf(id: bigint): string | undefined };
  /** A kubeconfig file with a token or a client certificate. @default the credentials of the pod it runs in */
  kubeconfig?: string;
  /** A context of that file. @default its current one */
  context?: string;
  /** Name of the Node object of this machine. @default the variable NODE_NAME, or the host's name */
  node?: string;
  /**
   * Where the name of a pod's service comes from, the first that has one: `annotation`
   * (`resource.opentelemetry.io/service.name`), `service` (the Service that selects it), `label:NAME`, `workload`.
   *
   * @default SERVICE_NAME
   */
  serviceName?: readonly string[];
  /** What pods of meshtap are labelled with: ends on their nodes are watched. @default 'app.kubernetes.io/name=meshtap' */
  agents?: string;
  /** Directory that meshtap is attached to, on each node. @default the whole machine */
  watched?: string;
  /** Names that tell replicas apart, on ends that are pods: many more series. @default none */
  details?: readonly ('pod' | 'address')[];
  /** How many removed pods of this node keep their names. @default 4096 */
  remember?: number;
  /** How the API is used; for tests. */
  tuning?: Partial<KubernetesTuning>;
}

/** Times in milliseconds, if not said otherwise. */
export interface KubernetesTuning extends Omit<ReflectorOptions, 'tell'>, Patience {
  /** How long `start` waits for the first lists. */
  startWithin: number;
  /** How often counts are settled at most while addresses pass on; changes wait for it, and come together. */
  settleEvery: number;
}

const TUNING: KubernetesTuning = {
  pageSize: 500,
  watchSeconds: 150,
  backoff: { first: 500, longest: 30_000 },
  connect: 10_000,
  silence: 330_000,
  startWithin: 10_000,
  settleEvery: 100,
};

/**
 * Names ends by what the API server of a Kubernetes cluster tells: pods of this machine by their cgroups, all others by
 * their addresses, services by the addresses that are dialled. It lists pods, services, endpoint slices, nodes, replica
 * sets and jobs once and follows their changes (deploy/kubernetes.yaml has the role it needs). While the server
 * can not be reached it goes on with what it has, and `status` says how old that is.
 *
 * In a pod with a service account nothing has to be configured but the variable NODE_NAME (from `spec.nodeName`); in a
 * configuration file that is `identity: { kubernetes: {} }`. Elsewhere name a `kubeconfig`.
 *
 * `start` waits ten seconds at most for the first answers, and rejects with IDENTITY_FAILED only if there are no
 * credentials.
 *
 * @example
 * const cgroups = cgroup();
 * await createAgent({ resolvers: [kubernetes({ cgroups, kubeconfig: '/etc/meshtap/kubeconfig' }), cgroups], ... });
 */
export function kubernetes({
  cgroups,
  kubeconfig,
  context,
  node = process.env.NODE_NAME ?? hostname(),
  serviceName = SERVICE_NAME,
  agents = 'app.kubernetes.io/name=meshtap',
  watched,
  details = [],
  remember = 4096,
  tuning,
}: KubernetesOptions): KubernetesResolver {
  const options = { ...TUNING, ...tuning };
  const stop = new AbortController();
  let host: ResolverHost | undefined;
  let running: Promise<unknown> = Promise.resolve();
  let reflectors: Reflector<unknown>[] = [];
  let server = '';
  let wholeMachine = true;

  let settledAt = Number.NEGATIVE_INFINITY;
  const settle = async () => {
    const early = settledAt + options.settleEvery - performance.now();
    if (early > 0) await sleep(early, undefined, { signal: stop.signal }).catch(() => {});
    await host?.settle();
    settledAt = performance.now();
  };

  const [label = '', value = ''] = agents.split('=');
  const state = new ClusterState({
    node,
    serviceName,
    agents: [label, value],
    watchesHosts: () => wholeMachine,
    remember,
    settle,
    prefixesChanged: () => host?.prefixesChanged(),
  });

  const answer = (found: Found | undefined): Identity | undefined => {
    if (!found?.pod || details.length === 0) return found?.identity;
    const { name, addresses } = found.pod;
    const all = { pod: name, address: addresses[0] ?? '' };
    const more = Object.fromEntries(details.map((detail) => [detail, all[detail]]));
    return { ...found.identity, labels: { ...found.identity.labels, ...more } };
  };

  const ofPath = (path: string): Identity | undefined => {
    const uid = podOfPath(path);
    return uid === undefined ? undefined : answer(state.inCgroup(uid));
  };

  return {
    name: 'kubernetes',
    attach: (given) => {
      host = given;
    },
    async start(signal) {
      wholeMachine = watched === undefined || placeOf(watched).path === '/';
      const cluster: Cluster = kubeconfig === undefined ? inCluster() : fromKubeconfig(kubeconfig, context);
      const api = new KubernetesApi(cluster, options);
      server = api.server;
      const tell = (resource: string, problem: string | undefined) => {
        if (problem === undefined) host?.log.info({ resource }, 'the API server tells of it again');
        else host?.log.warn({ resource, problem }, 'the API server tells nothing; names are those of before');
      };
      const watch = <T>(resource: Resource<T>, sink: Sink<T>) =>
        new Reflector(api, resource, sink, { ...options, tell });
      reflectors = [
        watch(OWN_PODS(node), state.podSink(true)),
        watch(OTHER_PODS(node), state.podSink(false)),
        watch(SERVICES, state.serviceSink()),
        watch(slices(api), state.sliceSink()),
        watch(NODES, state.nodeSink()),
        watch(REPLICA_SETS, state.controllerSink('ReplicaSet')),
        watch(JOBS, state.controllerSink('Job')),
      ] as Reflector<unknown>[];
      const until = AbortSignal.any([signal, stop.signal]);
      running = Promise.all(reflectors.map((reflector) => reflector.run(until))).finally(() =>
        api[Symbol.dispose](),
      );
      const late = sleep(options.startWithin, undefined, { signal: until, ref: false }).catch(() => {});
      await Promise.race([late, Promise.all(reflectors.map(({ tried }) => tried))]);
      signal.throwIfAborted();
    },
    resolve({ endpoint, role, port }) {
      if (endpoint.kind === 'cgroup') {
        const path = cgroups.pathOf(endpoint.cgroup);
        return path === undefined ? undefined : ofPath(path);
      }
      if (endpoint.kind !== 'address') return undefined;
      return answer(state.at(endpoint.address, role === 'server' ? port : undefined));
    },
    ofPath,
    pending({ endpoint }) {
      if (stop.signal.aborted) return false;
      if (endpoint.kind === 'address') return mayBeOfCluster(endpoint.address);
      const path = endpoint.kind === 'cgroup' ? cgroups.pathOf(endpoint.cgroup) : undefined;
      return path !== undefined && podOfPath(path) !== undefined;
    },
    revision: () => state.revision,
    prefixes: () => [...state.prefixes].map((cidr) => ({ cidr, id: 'address' })),
    status() {
      if (stop.signal.aborted) return 'closed';
      if (reflectors.length === 0) return 'not started';
      const { pods, services, nodes } = state.sizes;
      const all = `${pods} pods, ${services} services, ${nodes} nodes of ${server}`;
      return [all, ...troubles(reflectors)].join('; ');
    },
    ages: () =>
      Object.fromEntries(reflectors.flatMap(({ name, age }) => (age === undefined ? [] : [[name, age]]))),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

/** A resolver that also names a cgroup by its path, for others that find processes. */
export interface KubernetesResolver extends Resolver {
  ofPath(path: string): Identity | undefined;
}

/** What is wrong, with what, and how old that is. */
function troubles(reflectors: readonly Reflector<unknown>[]): string[] {
  const byProblem = new Map<string, Reflector<unknown>[]>();
  for (const reflector of reflectors) {
    const { problem } = reflector;
    if (problem !== undefined) byProblem.set(problem, [...(byProblem.get(problem) ?? []), reflector]);
  }
  return [...byProblem].map(([problem, those]) => {
    const oldest = Math.max(...those.map(({ age }) => age ?? Number.POSITIVE_INFINITY));
    const known = Number.isFinite(oldest) ? `known is what was ${Math.round(oldest)} s ago` : 'nothing known';
    return `${those.map(({ name }) => name).join(', ')}: ${problem}, ${known}`;
  });
}

/** Any address of a network may be given to a pod, but for those that mean this machine or this cable. */
function mayBeOfCluster(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  return !['loopback', 'linkLocal', 'unspecified', 'broadcast', 'multicast'].includes(
    ipaddr.process(text).range(),
  );
}

const OWN_PODS = (node: string): Resource<Pod> => ({
  name: 'pods',
  path: () => '/api/v1/pods',
  fieldSelector: `spec.nodeName=${node}`,
  extract: podOf,
});

/** What has ended there has no address any more; but of one that ends soon its end is the first that tells of its address. */
const OTHER_PODS = (node: string): Resource<Pod> => ({
  name: 'pods of other nodes',
  path: () => '/api/v1/pods',
  fieldSelector: `spec.nodeName!=${node}`,
  listSelector: 'status.phase!=Succeeded,status.phase!=Failed',
  extract: podOf,
});

const SERVICES: Resource<Service> = { name: 'services', path: () => '/api/v1/services', extract: serviceOf };
const NODES: Resource<Node> = { name: 'nodes', path: () => '/api/v1/nodes', extract: nodeOf };

/** `v1` since Kubernetes 1.21, `v1beta1` before, and before that only Endpoints. */
const slices = (api: KubernetesApi): Resource<Slice> => ({
  name: 'endpoint slices',
  async path(signal) {
    const group = await api
      .get<{ versions: { version: string }[] }>('/apis/discovery.k8s.io', { signal })
      .catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return { versions: [] };
        throw error;
      });
    const served = group.versions.map(({ version }) => version);
    const version = ['v1', 'v1beta1'].find((known) => served.includes(known));
    return version ? `/apis/discovery.k8s.io/${version}/endpointslices` : '/api/v1/endpoints';
  },
  extract: (object: RawSlice | RawEndpoints) =>
    'subsets' in object ? sliceOfEndpoints(object) : sliceOf(object as RawSlice),
});

const REPLICA_SETS: Resource<Controller> = {
  name: 'replica sets',
  path: () => '/apis/apps/v1/replicasets',
  metadataOnly: true,
  extract: controllerOf('ReplicaSet'),
};

const JOBS: Resource<Controller> = {
  name: 'jobs',
  path: () => '/apis/batch/v1/jobs',
  metadataOnly: true,
  extract: controllerOf('Job'),
};
