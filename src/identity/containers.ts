import { existsSync } from 'node:fs';
import { explain } from '../errors.js';
import { BoundedMap } from './bounded-map.js';
import type { CgroupResolver } from './cgroup.js';
import { isInside, placeOf } from './cgroup-mount.js';
import { containerOfPath } from './cgroup-name.js';
import type { Container, ContainerEngine } from './container-engine.js';
import type { Identity, Resolver } from './identity.js';

/** Where engines usually listen: the kind of interface, and the path of the socket. */
export const SOCKETS: readonly string[] = [
  'docker:/run/docker.sock',
  'docker:/run/podman/podman.sock',
  'cri:/run/containerd/containerd.sock',
  'cri:/run/k3s/containerd/containerd.sock',
  'cri:/run/crio/crio.sock',
];

export interface ContainersOptions {
  /** Who knows the paths of cgroups: the `cgroup` resolver of the same chain. */
  cgroups: Pick<CgroupResolver, 'pathOf' | 'onAdded'>;
  /** Sockets of engines, `docker:PATH` (Docker, Podman) or `cri:PATH`; those that are there are asked. @default SOCKETS */
  sockets?: readonly string[];
  /** Directory that meshtap is attached to. @default every container counts as watched */
  watched?: string;
  /** How many containers are remembered, those that are gone too. @default 16384 */
  remember?: number;
}

/** Clients are loaded where there is something to talk to: that of gRPC is large. */
const KINDS = {
  docker: async (path: string) => (await import('./container-docker.js')).dockerEngine(path),
  cri: async (path: string) => (await import('./container-cri.js')).criEngine(path),
};

/** Questions under way at once. */
const AT_ONCE = 8;
/** When an id that no engine knew is asked for again, milliseconds: at first soon, it may have been early. */
const AGAIN = [500, 2000, 60_000] as const;

/** A resolver that also names a cgroup by its path, for others that find processes. */
export interface ContainersResolver extends Resolver {
  ofPath(path: string): Identity | undefined;
}

/**
 * Names containers as their engine does: Docker, Podman, containerd and CRI-O. An engine is asked once for each
 * container, when the container's cgroup is made, or else when the first question comes; so there is a name also for
 * those that live for a moment.
 *
 * A container of a compose project is called by its service, within its project; any other by its name; one in a pod
 * by its pod's labels, or the workload that the pod's name begins with.
 */
export function containers({
  cgroups,
  sockets = SOCKETS,
  watched,
  remember = 16_384,
}: ContainersOptions): ContainersResolver {
  const known = new BoundedMap<string, Identity>(remember);
  /** Ids that no engine knew, how often they were asked for, and when they may be again. */
  const missing = new BoundedMap<string, { readonly times: number; readonly again: number }>(remember);
  const asking = new Set<string>();
  const waiting: string[] = [];
  const engines = new Map<string, Promise<ContainerEngine>>();
  const problems = new Map<string, string>();
  let watchedPath = '/';
  let revision = 0;
  let closed = false;
  let stopListening = () => {};

  /** The engines whose sockets are there now: they may come and go. */
  const present = () =>
    sockets.filter((socket) => {
      const [kind, path] = split(socket);
      if (!existsSync(path)) return false;
      if (!engines.has(socket)) engines.set(socket, KINDS[kind](path));
      return true;
    });

  const askOne = async (id: string): Promise<Container | undefined> => {
    for (const socket of present()) {
      try {
        const found = await (await engines.get(socket)!).ask(id);
        problems.delete(socket);
        if (found) return found;
      } catch (error) {
        problems.set(socket, explain(error));
      }
    }
    return undefined;
  };

  const next = () => {
    while (!closed && asking.size < AT_ONCE && waiting.length > 0) {
      const id = waiting.shift()!;
      asking.add(id);
      void askOne(id).then((container) => {
        asking.delete(id);
        if (container) known.set(id, identityOf(container));
        else {
          const times = (missing.get(id)?.times ?? 0) + 1;
          missing.set(id, { times, again: performance.now() + (AGAIN[times - 1] ?? AGAIN.at(-1)!) });
        }
        revision++;
        next();
      });
    }
  };

  const ask = (id: string) => {
    if (closed || known.get(id) || asking.has(id) || waiting.includes(id)) return;
    if (performance.now() < (missing.get(id)?.again ?? 0) || waiting.length >= remember) return;
    waiting.push(id);
    next();
  };

  const ofPath = (path: string): Identity | undefined => {
    const id = containerOfPath(path);
    const identity = id === undefined ? undefined : known.get(id);
    return identity && { ...identity, watched: isInside(path, watchedPath) };
  };

  return {
    name: 'containers',
    async start() {
      if (watched !== undefined) watchedPath = placeOf(watched).path;
      stopListening = cgroups.onAdded((path) => {
        const id = containerOfPath(path);
        if (id !== undefined && present().length > 0) ask(id);
      });
    },
    resolve({ endpoint }) {
      const path = endpoint.kind === 'cgroup' ? cgroups.pathOf(endpoint.cgroup) : undefined;
      return path === undefined ? undefined : ofPath(path);
    },
    pending({ endpoint }) {
      const path = endpoint.kind === 'cgroup' ? cgroups.pathOf(endpoint.cgroup) : undefined;
      const id = path === undefined ? undefined : containerOfPath(path);
      if (id === undefined || present().length === 0) return false;
      ask(id);
      return asking.has(id) || waiting.includes(id) || (missing.get(id)?.times ?? 0) < AGAIN.length;
    },
    ofPath,
    revision: () => revision,
    status() {
      if (closed) return 'closed';
      const there = present();
      if (there.length === 0) return 'no engine';
      const troubles = there.flatMap((socket) =>
        problems.has(socket) ? `${socket}: ${problems.get(socket)}` : [],
      );
      return [`${known.size} containers of ${there.join(', ')}`, ...troubles].join('; ');
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      stopListening();
      for (const engine of engines.values()) (await engine)[Symbol.dispose]();
      engines.clear();
    },
  };
}

function split(socket: string): [keyof typeof KINDS, string] {
  const colon = socket.indexOf(':');
  return [socket.slice(0, colon) as keyof typeof KINDS, socket.slice(colon + 1)];
}

/** docs.docker.com, Compose specification, "labels"; podman-compose writes its own beside them. */
const COMPOSE = ['com.docker.compose', 'io.podman.compose'];

function identityOf({ name, image, labels, pod }: Container): Identity {
  const compose = (key: string) => COMPOSE.map((prefix) => labels[`${prefix}.${key}`]).find(Boolean);
  const version =
    labels['app.kubernetes.io/version'] ?? labels.version ?? labels['org.opencontainers.image.version'];
  const more = { ...(image && { image }), ...(version && { version }) };
  if (pod) {
    const workload = workloadOf(pod.name, labels);
    const app = labels['app.kubernetes.io/name'] ?? labels.app;
    const service = pod.annotations['resource.opentelemetry.io/service.name'] ?? app ?? workload;
    return {
      service,
      namespace: pod.namespace,
      workload,
      labels: { ...(app && { app }), ...more },
      watched: true,
    };
  }
  const service = compose('service') ?? name;
  return {
    service: service || 'unknown',
    namespace: compose('project') ?? '',
    workload: service,
    labels: more,
    watched: true,
  };
}

/** The part of a pod's name that its workload gave it, told by the labels of the controllers. */
function workloadOf(pod: string, labels: Container['labels']): string {
  const hash = labels['pod-template-hash'];
  const at = hash ? pod.lastIndexOf(`-${hash}-`) : -1;
  if (at > 0) return pod.slice(0, at);
  if (labels['statefulset.kubernetes.io/pod-name']) return pod.replace(/-\d+$/, '');
  if (labels['controller-revision-hash']) return pod.replace(/-[a-z0-9]{5}$/, '');
  return labels['batch.kubernetes.io/job-name'] ?? labels['job-name'] ?? pod;
}
