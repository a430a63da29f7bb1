/**
 * A small API server of Kubernetes: lists, watches and the few writes that tests make, in memory, with what can go
 * wrong. Its objects were recorded from a real one (test/fixtures/kubernetes), and test/contract/kubernetes-api.ts, which
 * runs against both, holds that it answers as that does.
 *
 * @module
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

export interface KubernetesObject {
  kind?: string;
  apiVersion?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    creationTimestamp?: string;
    [key: string]: unknown;
  };
  [key: string]: unknown;
}

interface Change {
  readonly version: number;
  readonly collection: string;
  readonly before: KubernetesObject | undefined;
  readonly after: KubernetesObject | undefined;
}

/** `/api/v1/namespaces/N/pods/P/status` in parts; a collection is `v1/pods`, `apps/v1/replicasets`. */
const PATH =
  /^\/(?:api\/v1|apis\/(?<group>[^/]+)\/(?<version>[^/]+))(?:\/namespaces\/(?<namespace>[^/]+))?\/(?<resource>[a-z]+)(?:\/(?<name>[^/]+))?(?:\/(?<part>status))?$/;

const KINDS: Record<string, string> = {
  pods: 'Pod',
  services: 'Service',
  endpoints: 'Endpoints',
  endpointslices: 'EndpointSlice',
  nodes: 'Node',
  replicasets: 'ReplicaSet',
  jobs: 'Job',
  namespaces: 'Namespace',
};

interface Options {
  /** Which tokens are accepted. @default 'good' */
  readonly token?: string;
  /** Versions of discovery.k8s.io. @default v1beta1, as Kubernetes 1.20 */
  readonly discovery?: readonly string[];
}

export class SmallKubernetes implements AsyncDisposable {
  readonly #objects = new Map<string, Map<string, KubernetesObject>>();
  readonly #pages = new Map<string, { items: KubernetesObject[]; version: number }>();
  readonly #discovery: readonly string[];
  readonly #watches = new Set<(change?: Change) => void>();
  #changes: Change[] = [];
  #version = 100;
  /** Moments before this one are forgotten. */
  #oldest = 0;
  #server: Server | undefined;
  #port = 0;
  /** Who is let in. */
  token: string;
  /** How long each list takes, milliseconds. */
  slow = 0;
  /** How far its clock is ahead of everybody's, milliseconds. */
  skew = 0;
  /** Answers with this status instead of what was asked for. */
  refuse: number | undefined;
  /** Every request: `LIST pods`, `WATCH pods`. */
  readonly log: string[] = [];

  private constructor({ token = 'good', discovery = ['v1beta1'] }: Options) {
    this.token = token;
    this.#discovery = discovery;
  }

  static async start(options: Options = {}): Promise<SmallKubernetes> {
    const small = new SmallKubernetes(options);
    await small.up();
    return small;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The text of a kubeconfig file, in JSON, which is YAML. */
  kubeconfig(): string {
    return JSON.stringify({
      'current-context': 'small',
      contexts: [{ name: 'small', context: { cluster: 'small', user: 'test' } }],
      clusters: [{ name: 'small', cluster: { server: this.url } }],
      users: [{ name: 'test', user: { token: this.token } }],
    });
  }

  /** Puts an object there without a request. */
  set(collection: string, object: KubernetesObject): KubernetesObject {
    const { metadata } = object;
    const objects = this.#collection(collection);
    const key = `${metadata.namespace ?? ''}/${metadata.name}`;
    const before = objects.get(key);
    const after = {
      ...object,
      metadata: {
        uid: before?.metadata.uid ?? randomUUID(),
        creationTimestamp: new Date(Date.now() + this.skew).toISOString().replace(/\.\d+/, ''),
        ...metadata,
        resourceVersion: String(++this.#version),
      },
    };
    objects.set(key, after);
    this.#note({ version: this.#version, collection, before, after });
    return after;
  }

  remove(collection: string, namespace: string, name: string): void {
    const objects = this.#collection(collection);
    const before = objects.get(`${namespace}/${name}`);
    if (!before) return;
    objects.delete(`${namespace}/${name}`);
    this.#note({ version: ++this.#version, collection, before, after: undefined });
  }

  /** Ends all watches without a word. */
  dropWatches(): void {
    for (const end of [...this.#watches]) end();
  }

  /** Forgets what was: pages of lists that are under way, and moments to watch from. */
  compact(): void {
    this.#pages.clear();
    this.#changes = [];
    this.#oldest = this.#version;
  }

  async down(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  async up(): Promise<void> {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.down();
  }

  #collection(name: string): Map<string, KubernetesObject> {
    let objects = this.#objects.get(name);
    if (!objects) {
      objects = new Map();
      this.#objects.set(name, objects);
    }
    return objects;
  }

  #note(change: Change): void {
    this.#changes.push(change);
    for (const tell of [...this.#watches]) tell(change);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('date', new Date(Date.now() + this.skew).toUTCString());
    const url = new URL(request.url ?? '/', this.url);
    if (request.headers.authorization !== `Bearer ${this.token}`)
      return status(response, 401, 'Unauthorized', 'Unauthorized');
    if (this.refuse !== undefined)
      return status(response, this.refuse, 'InternalError', 'refused by the test');
    if (url.pathname === '/apis/discovery.k8s.io' && this.#discovery.length > 0) {
      const versions = this.#discovery.map((version) => ({
        groupVersion: `discovery.k8s.io/${version}`,
        version,
      }));
      return send(response, 200, {
        kind: 'APIGroup',
        apiVersion: 'v1',
        name: 'discovery.k8s.io',
        versions,
        preferredVersion: versions[0],
      });
    }
    const parts = PATH.exec(url.pathname)?.groups;
    const kind = KINDS[parts?.resource ?? ''];
    const served = parts?.group !== 'discovery.k8s.io' || this.#discovery.includes(parts.version!);
    if (!parts || !kind || !served) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n');
      return;
    }
    const apiVersion = parts.group ? `${parts.group}/${parts.version}` : 'v1';
    const target = { ...parts, kind, apiVersion, collection: parts.resource! } as Target;
    if (request.method !== 'GET') return this.#write(request, response, target);
    if (target.name) return this.#get(response, target);
    const query = url.searchParams;
    const selected = selector(query.get('fieldSelector') ?? '');
    if (typeof selected === 'string')
      return status(response, 400, 'BadRequest', `field label not supported: ${selected}`);
    const fits = (object: KubernetesObject | undefined) =>
      object !== undefined &&
      (!target.namespace || object.metadata.namespace === target.namespace) &&
      selected(object);
    const partial = /as=PartialObjectMetadata/.test(request.headers.accept ?? '');
    const shape = (object: KubernetesObject) =>
      partial
        ? { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata }
        : { kind, apiVersion, ...object };
    const asked = { ...target, query, fits, shape, partial };
    if (query.get('watch')) return this.#watch(response, asked);
    return this.#list(response, asked);
  }

  #get(response: ServerResponse, { collection, namespace = '', name, kind, apiVersion }: Target): void {
    const object = this.#collection(collection).get(`${namespace}/${name}`);
    if (object) send(response, 200, { kind, apiVersion, ...object });
    else status(response, 404, 'NotFound', `${collection} "${name}" not found`);
  }

  async #write(request: IncomingMessage, response: ServerResponse, target: Target): Promise<void> {
    const { collection, namespace, name, part, kind, apiVersion } = target;
    const objects = this.#collection(collection);
    const sent = (await json(request).catch(() => ({}))) as KubernetesObject;
    if (request.method === 'POST') {
      if (objects.has(`${namespace ?? ''}/${sent.metadata.name}`))
        return status(response, 409, 'AlreadyExists', `${collection} "${sent.metadata.name}" already exists`);
      const metadata = { ...sent.metadata, ...(namespace && { namespace }) };
      return send(response, 201, { kind, apiVersion, ...this.set(collection, { ...sent, metadata }) });
    }
    const before = objects.get(`${namespace ?? ''}/${name}`);
    if (!before) return status(response, 404, 'NotFound', `${collection} "${name}" not found`);
    if (request.method === 'DELETE') {
      this.remove(collection, namespace ?? '', name!);
      return send(response, 200, { kind, apiVersion, ...before });
    }
    // A status is written on its own, and everything else without it.
    const after =
      part === 'status'
        ? { ...before, status: sent.status }
        : { ...sent, ...(before.status ? { status: before.status } : {}) };
    const metadata = { ...(part === 'status' ? before.metadata : sent.metadata), uid: before.metadata.uid! };
    send(response, 200, { kind, apiVersion, ...this.set(collection, { ...after, metadata }) });
  }

  async #list(
    response: ServerResponse,
    { collection, kind, apiVersion, query, fits, shape, partial }: Asked,
  ): Promise<void> {
    this.log.push(`LIST ${collection}`);
    const token = query.get('continue');
    const limit = Number(query.get('limit') ?? 0) || Number.POSITIVE_INFINITY;
    const key = (object: KubernetesObject) => `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
    const rest = token
      ? this.#pages.get(token)
      : {
          items: [...this.#collection(collection).values()]
            .filter(fits)
            .sort((a, b) => (key(a) < key(b) ? -1 : 1)),
          version: this.#version,
        };
    if (this.slow > 0) await sleep(this.slow);
    if (!rest || (token && !this.#pages.has(token)))
      return status(
        response,
        410,
        'Expired',
        'The provided continue parameter is too old to display a consistent list result.',
      );
    const next = rest.items.slice(limit);
    const more = next.length > 0 ? { continue: randomUUID(), remainingItemCount: next.length } : {};
    if (more.continue) this.#pages.set(more.continue, { ...rest, items: next });
    send(response, 200, {
      kind: partial ? 'PartialObjectMetadataList' : `${kind}List`,
      apiVersion: partial ? 'meta.k8s.io/v1' : apiVersion,
      metadata: { resourceVersion: String(rest.version), ...more },
      items: rest.items.slice(0, limit).map((object) => {
        const { kind: _, apiVersion: __, ...bare } = shape(object);
        return partial ? shape(object) : bare;
      }),
    });
  }

  async #watch(
    response: ServerResponse,
    { collection, kind, apiVersion, query, fits, shape }: Asked,
  ): Promise<void> {
    this.log.push(`WATCH ${collection}`);
    const from = Number(query.get('resourceVersion') ?? 0);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const event = (type: string, object: unknown) => response.write(`${JSON.stringify({ type, object })}\n`);
    const tell = ({ version, before, after, ...change }: Change) => {
      if (change.collection !== collection || version <= from) return;
      const at = (object: KubernetesObject) =>
        shape({ ...object, metadata: { ...object.metadata, resourceVersion: String(version) } });
      if (fits(after)) event(fits(before) ? 'MODIFIED' : 'ADDED', shape(after!));
      else if (fits(before)) event('DELETED', at(before!));
    };
    let told = from;
    const bookmark = () => {
      const version = this.#changes.findLast((change) => change.collection === collection)?.version ?? 0;
      if (version <= told) return;
      told = version;
      const metadata = { resourceVersion: String(version), creationTimestamp: null };
      event('BOOKMARK', { kind, apiVersion, metadata });
    };
    if (from < this.#oldest) {
      const message = `too old resource version: ${from} (${this.#oldest})`;
      event('ERROR', {
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message,
        reason: 'Expired',
        code: 410,
      });
      response.end();
      return;
    }
    for (const change of this.#changes) tell(change);
    const seconds = Number(query.get('timeoutSeconds') ?? 1800);
    await new Promise<void>((resolve) => {
      const listener = (change?: Change) => {
        if (change) tell(change);
        else response.destroy();
      };
      this.#watches.add(listener);
      const timers = [setTimeout(() => response.end(), seconds * 1000)];
      if (query.get('allowWatchBookmarks')) {
        timers.push(setTimeout(bookmark, Math.max(0, seconds - 2) * 1000));
        timers.push(setInterval(bookmark, 1000));
      }
      response.on('close', () => {
        this.#watches.delete(listener);
        for (const timer of timers) clearTimeout(timer);
        resolve();
      });
    });
  }
}

interface Target {
  readonly collection: string;
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly part?: string;
}

interface Asked extends Target {
  readonly query: URLSearchParams;
  fits(object: KubernetesObject | undefined): boolean;
  shape(object: KubernetesObject): Record<string, unknown>;
  readonly partial: boolean;
}

/** A field selector, or the first field that can not be selected by. */
function selector(text: string): ((object: KubernetesObject) => boolean) | string {
  const terms = text
    .split(',')
    .filter(Boolean)
    .map((term) => /^([^!=]+)(!=|==?)(.*)$/.exec(term)!.slice(1) as [string, string, string]);
  const known = ['metadata.name', 'metadata.namespace', 'spec.nodeName', 'status.phase'];
  const unknown = terms.find(([field]) => !known.includes(field));
  if (unknown) return unknown[0];
  return (object) =>
    terms.every(([field, operator, value]) => {
      const [part, key] = field.split('.') as [string, string];
      const found = (object[part] as Record<string, string> | undefined)?.[key] ?? '';
      return (found === value) === (operator !== '!=');
    });
}

function send(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

function status(response: ServerResponse, code: number, reason: string, message: string): void {
  send(response, code, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason,
    code,
  });
}
