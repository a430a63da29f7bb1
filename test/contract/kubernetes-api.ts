import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import type { Identity, Question } from '../../src/identity/identity.js';
import { type KubernetesOptions, kubernetes } from '../../src/identity/kubernetes.js';
import { KubernetesApi, type WatchEvent } from '../../src/identity/kubernetes-api.js';
import { fromKubeconfig } from '../../src/identity/kubernetes-credentials.js';

/** An API server, and what can be done to it. Tests work in a namespace and on a node of their own. */
export interface KubernetesApiCase {
  /** A kubeconfig file with a token that may do everything. */
  kubeconfig(): string | Promise<string>;
  /** Makes it forget pages of lists that are under way. */
  compact?(): Promise<void>;
  /** Stops it, and starts it again without any memory of the changes before; resolves when it answers. */
  restart?(): Promise<void>;
}

interface Thing {
  metadata: { name: string; uid?: string; resourceVersion?: string; [key: string]: unknown };
  [key: string]: unknown;
}

const TIMEOUT = 120_000;
const PATIENCE = { connect: TIMEOUT, silence: TIMEOUT };
const SLICES = '/apis/discovery.k8s.io/v1beta1';

/**
 * What meshtap takes for granted about an API server. Run on the small one of the tests and on a real one, so that the
 * small one is known to behave as the real one.
 */
export function testKubernetesApi(name: string, { kubeconfig, compact, restart }: KubernetesApiCase): void {
  const space = `meshtap-${randomUUID().slice(0, 8)}`;
  const node = `${space}-node`;
  const elsewhere = `${space}-elsewhere`;
  const signal = new AbortController().signal;
  let api: KubernetesApi;
  let send: (method: string, path: string, body?: unknown) => Promise<Thing>;
  let file: string;

  const pods = `/api/v1/namespaces/${space}/pods`;

  /** A pod as the scheduler, the kubelet and others leave it; ready, with that address. */
  const makePod = async (name: string, { ip, on = node, labels = {}, ...metadata }: PodOptions = {}) => {
    const made = await send('POST', pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, labels, ...metadata },
      spec: {
        nodeName: on,
        automountServiceAccountToken: false,
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'c', image: 'localhost/none:1', imagePullPolicy: 'Never' }],
      },
    });
    return ip === undefined ? made : setStatus(made, { phase: 'Running', podIP: ip, podIPs: [{ ip }] });
  };
  const setStatus = (pod: Thing, status: object) =>
    send('PUT', `${pods}/${pod.metadata.name}/status`, {
      ...pod,
      status,
      metadata: { ...pod.metadata, resourceVersion: undefined },
    });
  const removePod = (name: string) => send('DELETE', `${pods}/${name}`, { gracePeriodSeconds: 0 });

  const list = (query: string, accept?: string) =>
    api.get<{ kind: string; metadata: { resourceVersion: string; continue?: string }; items: Thing[] }>(
      `${pods}?${query}`,
      { signal, ...(accept && { accept }) },
    );

  /** Watches from a moment on; `next` waits for the next event that is no bookmark. */
  const watching = (query: string, accept?: string) => {
    const stop = new AbortController();
    const events: WatchEvent[] = [];
    const failed: unknown[] = [];
    const watched = (async () => {
      const url = `${pods}?watch=1&timeoutSeconds=60&${query}`;
      for await (const batch of api.watch(url, { signal: stop.signal, ...(accept && { accept }) }))
        events.push(...batch);
    })().catch((error: unknown) => failed.push(error));
    onTestFinished(async () => {
      stop.abort();
      await watched;
    });
    const next = () =>
      until(() => {
        if (failed.length > 0) throw failed[0];
        const at = events.findIndex(({ type }) => type !== 'BOOKMARK');
        return at < 0 ? undefined : events.splice(0, at + 1).pop()!;
      });
    return { events, next, ended: watched };
  };

  beforeAll(async () => {
    file = await kubeconfig();
    const cluster = fromKubeconfig(file);
    api = new KubernetesApi(cluster, PATIENCE);
    send = sender(cluster);
    await send('POST', '/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: space },
    });
    for (const name of [node, elsewhere])
      await send('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    // A cluster that has controllers needs the account before the first pod.
    await until(() => makePod('first').then(Boolean, () => undefined));
    await removePod('first');
  }, TIMEOUT);

  afterAll(async () => {
    for (const name of [node, elsewhere]) await send('DELETE', `/api/v1/nodes/${name}`);
    for (const { metadata } of (await list('')).items) await removePod(metadata.name).catch(() => {});
    await send('DELETE', `/api/v1/namespaces/${space}`);
    api[Symbol.dispose]();
  }, TIMEOUT);

  describe(`${name} answers as meshtap expects`, () => {
    test('a list has a moment, and in pages the same objects of the same moment', async () => {
      for (const name of ['page-1', 'page-2', 'page-3']) await makePod(name);
      const whole = await list('');
      expect(whole.kind).toBe('PodList');
      const names = whole.items.map(({ metadata }) => metadata.name);
      expect(names).toEqual(expect.arrayContaining(['page-1', 'page-2', 'page-3']));
      const first = await list('limit=2');
      expect(first.items).toHaveLength(2);
      // What comes meanwhile is not in it.
      await makePod('page-0');
      const paged = [...first.items];
      for (let { metadata } = first; metadata.continue; ) {
        const page = await list(`limit=2&continue=${encodeURIComponent(metadata.continue)}`);
        expect(page.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
        paged.push(...page.items);
        ({ metadata } = page);
      }
      expect(paged.map(({ metadata }) => metadata.name)).toEqual(names);
    });

    test('pods can be selected by node and phase, and by no other field', async () => {
      await makePod('here', { ip: '192.0.2.1' });
      await makePod('there', { ip: '192.0.2.2', on: elsewhere });
      const ended = await makePod('ended', { ip: '192.0.2.3', on: elsewhere });
      await setStatus(ended, { phase: 'Succeeded' });
      const select = async (selector: string) =>
        (await list(`fieldSelector=${encodeURIComponent(selector)}`)).items.map(
          ({ metadata }) => metadata.name,
        );
      expect(await select(`spec.nodeName=${elsewhere}`)).toEqual(['ended', 'there']);
      expect(await select(`spec.nodeName!=${node},status.phase!=Succeeded,status.phase!=Failed`)).toEqual([
        'there',
      ]);
      await expect(select('spec.image=x')).rejects.toMatchObject({ status: 400 });
    });

    test('a watch tells what came after its moment, in order, each with its own', async () => {
      const { metadata } = await list('');
      const { next } = watching(`resourceVersion=${metadata.resourceVersion}`);
      const made = await makePod('told');
      await setStatus(made, { phase: 'Running', podIP: '192.0.2.4', podIPs: [{ ip: '192.0.2.4' }] });
      await removePod('told');
      const seen: [string, string, unknown][] = [];
      let version = Number(metadata.resourceVersion);
      while (seen.at(-1)?.[0] !== 'DELETED') {
        const { type, object } = await next();
        const pod = object as unknown as Thing & { status?: { podIP?: string } };
        expect(Number(pod.metadata.resourceVersion)).toBeGreaterThan(version);
        version = Number(pod.metadata.resourceVersion);
        expect(pod.kind).toBe('Pod');
        seen.push([type, pod.metadata.name, pod.status?.podIP]);
      }
      // What is deleted is told as it was.
      expect(seen[0]).toEqual(['ADDED', 'told', undefined]);
      expect(seen[1]).toEqual(['MODIFIED', 'told', '192.0.2.4']);
      expect(seen.at(-1)).toEqual(['DELETED', 'told', '192.0.2.4']);
    });

    test('what ceases to be selected is told as deleted', async () => {
      const { metadata } = await list('');
      const selector = encodeURIComponent('status.phase!=Succeeded');
      const { next } = watching(`resourceVersion=${metadata.resourceVersion}&fieldSelector=${selector}`);
      const made = await makePod('selected');
      expect(await next()).toMatchObject({ type: 'ADDED' });
      await setStatus(made, { phase: 'Succeeded' });
      expect(await next()).toMatchObject({ type: 'DELETED', object: { metadata: { name: 'selected' } } });
    });

    test('a bookmark tells how far a watch is that nothing is selected for; it ends when it was asked to', async () => {
      const { metadata } = await list('');
      const selector = `fieldSelector=${encodeURIComponent('metadata.name=nobody')}`;
      const query = `resourceVersion=${metadata.resourceVersion}&allowWatchBookmarks=true&timeoutSeconds=6`;
      const events: WatchEvent[] = [];
      let made: Thing | undefined;
      for await (const batch of api.watch(`${pods}?watch=1&${query}&${selector}`, { signal })) {
        made ??= await makePod('not-selected');
        events.push(...batch);
      }
      expect(new Set(events.map(({ type }) => type))).toEqual(new Set(['BOOKMARK']));
      const moment = (events.at(-1)!.object as unknown as Thing).metadata.resourceVersion;
      expect(Number(moment)).toBeGreaterThanOrEqual(Number(made!.metadata.resourceVersion));
      const { next } = watching(`resourceVersion=${moment}`);
      await makePod('after-bookmark');
      expect(await next()).toMatchObject({ object: { metadata: { name: 'after-bookmark' } } });
    });

    test('metadata alone can be listed and watched', async () => {
      const as = (what: string) => `application/json;as=${what};g=meta.k8s.io;v=v1,application/json`;
      await makePod('lean');
      const { items, metadata } = await list('', as('PartialObjectMetadataList'));
      const lean = items.find(({ metadata }) => metadata.name === 'lean');
      expect(lean?.metadata.uid).toBeTruthy();
      expect(lean).not.toHaveProperty('spec');
      const { next } = watching(`resourceVersion=${metadata.resourceVersion}`, as('PartialObjectMetadata'));
      await makePod('leaner');
      const { object } = await next();
      expect(object).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name: 'leaner' } });
      expect(object).not.toHaveProperty('spec');
    });

    test('groups tell their versions, those that are not there are not found', async () => {
      const { versions } = await api.get<{ versions: { version: string }[] }>('/apis/discovery.k8s.io', {
        signal,
      });
      expect(versions.some(({ version }) => ['v1', 'v1beta1'].includes(version))).toBe(true);
      await expect(api.get('/apis/nothing.example.com', { signal })).rejects.toMatchObject({ status: 404 });
    });

    test('a wrong token is not let in', async () => {
      const cluster = { ...fromKubeconfig(file), token: () => 'wrong' };
      using stranger = new KubernetesApi(cluster, PATIENCE);
      const refused = { status: 401, message: '401 Unauthorized' };
      await expect(stranger.get(pods, { signal })).rejects.toMatchObject(refused);
    });

    if (compact)
      test('pages of a list that is forgotten are gone', async () => {
        for (const name of ['gone-1', 'gone-2', 'gone-3']) await makePod(name);
        const first = await list('limit=1');
        await makePod('gone-4');
        await compact();
        const next = list(`limit=1&continue=${encodeURIComponent(first.metadata.continue!)}`);
        await expect(next).rejects.toMatchObject({ status: 410 });
      });

    if (restart)
      test('a moment that is forgotten is gone', { timeout: TIMEOUT }, async () => {
        const { metadata } = await list('');
        await makePod('forgotten');
        await compact?.();
        await restart();
        const query = `resourceVersion=${Number(metadata.resourceVersion) - 5}`;
        const { object, type } = await watching(query).next();
        expect(type).toBe('ERROR');
        expect(object).toMatchObject({ kind: 'Status', code: 410 });
      });
  });

  describe(`a resolver of ${name}`, () => {
    /** The cgroup of a pod, by the number that its uid begins with. */
    const cgroups = {
      pathOf: (id: bigint) => paths.get(id),
    };
    const paths = new Map<bigint, string>();
    const inPod = ({ metadata }: Thing): Question => {
      const id = BigInt(paths.size + 1);
      paths.set(id, `/kubepods/besteffort/pod${metadata.uid}/${'c'.repeat(64)}`);
      return { endpoint: { kind: 'cgroup', cgroup: id }, role: 'client', port: undefined };
    };
    const from = (address: string): Question => ({
      endpoint: { kind: 'address', address },
      role: 'client',
      port: undefined,
    });
    const to = (address: string, port: number): Question => ({
      endpoint: { kind: 'address', address },
      role: 'server',
      port,
    });

    const started = async (options: Partial<KubernetesOptions> = {}) => {
      const backoff = { first: 50, longest: 1000 };
      const resolver = kubernetes({ cgroups, kubeconfig: file, node, tuning: { backoff }, ...options });
      onTestFinished(() => resolver[Symbol.asyncDispose]());
      await resolver.start(signal);
      return resolver;
    };
    type Started = Awaited<ReturnType<typeof started>>;
    const named = (resolver: Started, question: Question, service: string): Promise<Identity> =>
      until(() => {
        const identity = resolver.resolve(question);
        return identity?.service === service ? identity : undefined;
      });
    const unnamed = (resolver: Started, question: Question) =>
      until(() => (resolver.resolve(question) === undefined ? true : undefined));

    test('names a pod of its node by its cgroup, any pod by its address, by its workload', async () => {
      const owner = {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        name: 'cart-6c4d9',
        uid: randomUUID(),
        controller: true,
      };
      const labels = { 'pod-template-hash': '6c4d9' };
      const resolver = await started();
      const own = await makePod('cart-6c4d9-a', { ip: '198.18.0.1', labels, ownerReferences: [owner] });
      await makePod('cart-6c4d9-b', { ip: '198.18.0.2', on: elsewhere, labels, ownerReferences: [owner] });
      const expected = {
        service: 'cart',
        namespace: space,
        workload: 'cart',
        labels: { kind: 'Deployment' },
      };
      expect(await named(resolver, inPod(own), 'cart')).toEqual({ ...expected, watched: true });
      expect(await named(resolver, from('198.18.0.1'), 'cart')).toEqual({ ...expected, watched: true });
      expect(await named(resolver, from('198.18.0.2'), 'cart')).toEqual({ ...expected, watched: false });
      expect(resolver.status()).not.toContain(';');
    });

    test('asks a ReplicaSet and a Job who made them', async () => {
      const above = {
        apiVersion: 'x/v1',
        kind: 'Rollout',
        name: 'canary',
        uid: randomUUID(),
        controller: true,
      };
      const template = {
        metadata: { labels: { a: 'b' } },
        spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'localhost/none:1' }] },
      };
      const meta = { namespace: space, ownerReferences: [above] };
      const resolver = await started();
      const set = await send('POST', `/apis/apps/v1/namespaces/${space}/replicasets`, {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        metadata: { name: 'canary-xyz', ...meta },
        spec: {
          replicas: 0,
          selector: { matchLabels: { a: 'b' } },
          template: { ...template, spec: { ...template.spec, restartPolicy: 'Always' } },
        },
      });
      const job = await send('POST', `/apis/batch/v1/namespaces/${space}/jobs`, {
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: {
          name: 'nightly-27',
          ...meta,
          ownerReferences: [{ ...above, kind: 'CronJob', name: 'nightly' }],
        },
        spec: { template, parallelism: 0 },
      });
      const owned = (kind: string, { metadata: { name, uid } }: Thing) => ({
        ownerReferences: [{ apiVersion: 'x/v1', kind, name, uid, controller: true }],
      });
      await makePod('canary-xyz-1', { ip: '198.18.1.1', ...owned('ReplicaSet', set) });
      await makePod('nightly-27-1', { ip: '198.18.1.2', ...owned('Job', job) });
      expect(await named(resolver, from('198.18.1.1'), 'canary')).toMatchObject({
        labels: { kind: 'Rollout' },
      });
      expect(await named(resolver, from('198.18.1.2'), 'nightly')).toMatchObject({
        labels: { kind: 'CronJob' },
      });
    });

    test('names a service that is dialled, and its pods by it', async () => {
      const resolver = await started();
      const service = await send('POST', `/api/v1/namespaces/${space}/services`, {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'shop' },
        spec: {
          type: 'NodePort',
          selector: { app: 'web' },
          ports: [{ port: 80 }],
          externalIPs: ['203.0.113.80'],
        },
      });
      const spec = service.spec as { clusterIP?: string; ports: { nodePort?: number }[] };
      await makePod('web-1', { ip: '198.18.2.1', labels: { app: 'web' } });
      expect(await named(resolver, from('198.18.2.1'), 'shop')).toMatchObject({ workload: 'web-1' });
      // A real server gives one; where none is given, there is none to dial.
      if (spec.clusterIP) await named(resolver, to(spec.clusterIP, 80), 'shop');
      await named(resolver, to('203.0.113.80', 80), 'shop');
      expect(resolver.resolve(to('203.0.113.80', 81))).toBeUndefined();
      await send('DELETE', `/api/v1/namespaces/${space}/services/shop`);
      await named(resolver, from('198.18.2.1'), 'web');
    });

    test('names an address that only a slice has by its service', async () => {
      const resolver = await started();
      await send('POST', `${SLICES}/namespaces/${space}/endpointslices`, {
        apiVersion: 'discovery.k8s.io/v1beta1',
        kind: 'EndpointSlice',
        metadata: { name: 'database-1', labels: { 'kubernetes.io/service-name': 'database' } },
        addressType: 'IPv4',
        endpoints: [{ addresses: ['198.18.3.1'] }],
        ports: [{ port: 5432 }],
      });
      await named(resolver, to('198.18.3.1', 5432), 'database');
    });

    test('names nodes', async () => {
      const resolver = await started();
      const made = await api.get<Thing>(`/api/v1/nodes/${elsewhere}`, { signal });
      await send('PUT', `/api/v1/nodes/${elsewhere}/status`, {
        ...made,
        metadata: { ...made.metadata, resourceVersion: undefined },
        status: { addresses: [{ type: 'InternalIP', address: '198.18.4.1' }] },
      });
      await named(resolver, from('198.18.4.1'), 'node');
    });

    test('names what was counted for a pod whose end is the first that tells of its address', async () => {
      const settled: (string | undefined)[] = [];
      const resolver = kubernetes({ cgroups, kubeconfig: file, node });
      onTestFinished(() => resolver[Symbol.asyncDispose]());
      resolver.attach?.({
        log: pino({ level: 'silent' }),
        settle: async () => void settled.push(resolver.resolve(from('198.18.7.1'))?.service),
        prefixesChanged: () => {},
      });
      await resolver.start(signal);
      for (const on of [node, elsewhere]) {
        const made = await makePod(`brief-${on}`, { on });
        await setStatus(made, { phase: 'Failed', podIP: '198.18.7.1', podIPs: [{ ip: '198.18.7.1' }] });
        await until(() => (settled.includes(`brief-${on}`) ? true : undefined));
        await unnamed(resolver, from('198.18.7.1'));
      }
    });

    test('an address passes on only after what was counted was settled', async () => {
      const log: string[] = [];
      const resolver = kubernetes({ cgroups, kubeconfig: file, node });
      onTestFinished(() => resolver[Symbol.asyncDispose]());
      const who = () => resolver.resolve(from('198.18.5.1'))?.service ?? 'nobody';
      resolver.attach?.({
        log: pino({ level: 'silent' }),
        settle: async () => {
          log.push(`settled for ${who()}`);
          await sleep(20);
          log.push(`still ${who()}`);
        },
        prefixesChanged: () => {},
      });
      await resolver.start(signal);
      const before = resolver.revision?.();
      await makePod('old', { ip: '198.18.5.1', on: elsewhere });
      await named(resolver, from('198.18.5.1'), 'old');
      expect(resolver.revision?.()).not.toBe(before);
      await removePod('old');
      await unnamed(resolver, from('198.18.5.1'));
      expect(resolver.pending?.(from('198.18.5.1'))).toBe(true);
      await makePod('new', { ip: '198.18.5.1', on: elsewhere });
      await named(resolver, from('198.18.5.1'), 'new');
      expect(log.filter((line) => !line.endsWith('nobody'))).toEqual(['settled for old', 'still old']);
    });

    test('goes on with the token that takes the place of a refused one', async () => {
      const directory = mkdtempSync(join(tmpdir(), 'meshtap-token-'));
      onTestFinished(() => rmSync(directory, { recursive: true }));
      const [renewing, token] = [join(directory, 'kubeconfig'), join(directory, 'token')];
      const config = parse(readFileSync(file, 'utf8'));
      const [{ user }] = config.users;
      writeFileSync(
        renewing,
        JSON.stringify({ ...config, users: [{ ...config.users[0], user: { tokenFile: token } }] }),
      );
      writeFileSync(token, 'expired');
      const resolver = await started({ kubeconfig: renewing });
      expect(resolver.status()).toContain('401 Unauthorized');
      await makePod('renewed', { ip: '198.18.8.1', on: elsewhere });
      writeFileSync(token, user.token);
      await named(resolver, from('198.18.8.1'), 'renewed');
      await until(() => (resolver.status().includes('401') ? undefined : true));
    });

    if (restart)
      test('goes on over a restart of the server, with what it has meanwhile', {
        timeout: TIMEOUT,
      }, async () => {
        const resolver = await started();
        await makePod('lasting', { ip: '198.18.6.1', on: elsewhere });
        await makePod('leaving', { ip: '198.18.6.2', on: elsewhere });
        await named(resolver, from('198.18.6.1'), 'lasting');
        await named(resolver, from('198.18.6.2'), 'leaving');
        const restarting = restart();
        await until(() => (resolver.status().includes('s ago') ? true : undefined));
        expect(resolver.resolve(from('198.18.6.1'))?.service).toBe('lasting');
        await restarting;
        await removePod('leaving');
        await makePod('arriving', { ip: '198.18.6.3', on: elsewhere });
        await named(resolver, from('198.18.6.3'), 'arriving');
        await unnamed(resolver, from('198.18.6.2'));
        expect(resolver.resolve(from('198.18.6.1'))?.service).toBe('lasting');
        await until(() => (resolver.status().includes('s ago') ? undefined : true));
      });
  });
}

interface PodOptions {
  ip?: string;
  on?: string;
  labels?: Record<string, string>;
  ownerReferences?: object[];
}

/** Waits until there is something; generously, and not for ever. */
async function until<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = Date.now() + 50_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error('it did not come');
    await sleep(20);
  }
}

/** Sends objects. Rejects unless they are taken. */
function sender({ server, tls, token }: ReturnType<typeof fromKubeconfig>) {
  return (method: string, path: string, body?: unknown): Promise<Thing> =>
    new Promise((resolve, reject) => {
      const url = new URL(path, server);
      const sent = body === undefined ? '' : JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${token()}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(sent),
      };
      const asked = (url.protocol === 'https:' ? requestHttps : requestHttp)(url, {
        method,
        headers,
        ...tls,
      });
      asked.on('error', reject);
      asked.on('response', (response) => {
        text(response).then((answer) => {
          if (response.statusCode! < 300) resolve(JSON.parse(answer) as Thing);
          else reject(new Error(`${method} ${path}: ${answer}`));
        }, reject);
      });
      asked.end(sent);
    });
}
