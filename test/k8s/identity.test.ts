import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { Page, Wanted } from '../support/exposition.js';
import { facts, installAgent, list, Namespace, onNode, scrape, tally, until } from './support.js';

beforeAll(installAgent, 240_000);

const timeout = 600_000;
const WEB = 'docker.io/istio/examples-bookinfo-ratings-v1:1.17.0';

/** A pod that answers `/ratings/…` at port 9080 and writes a line for each request. */
const server = (name: string, more: { labels?: object; spec?: object } = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels: { app: name, ...more.labels } },
  spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'web', image: WEB }], ...more.spec },
});

/** A pod that runs a script and ends. */
const script = (name: string, command: string, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels: { app: name } },
  spec: {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 1,
    containers: [{ name: 'script', image: 'localhost/tools:1', command: ['sh', '-c', command] }],
    ...more,
  },
});

const service = (name: string, app: string, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec: { selector: { app }, ports: [{ port: 9080 }], ...more },
});

/** How often it asked, by the names on either end, as one side counted; other namespaces' left out. */
function exchanges(
  page: Page,
  role: 'client' | 'server',
  { name: namespace }: Namespace,
): Record<string, number> {
  const wanted: Wanted[] = [{ destination_namespace: namespace }, { source_namespace: namespace }];
  const samples = new Set(
    wanted.flatMap((labels) => page.of(`http_${role}_request_duration_seconds_count`, labels)),
  );
  const counts: Record<string, number> = {};
  for (const { labels, value } of samples) {
    const pair = `${labels.source_service} -> ${labels.destination_service}`;
    counts[pair] = (counts[pair] ?? 0) + value;
  }
  return counts;
}

const ended = async (namespace: Namespace, name: string) => {
  const phase = await until(`the end of ${name}`, async () => {
    const [pod] = await list('pods', '-n', namespace.name, '-l', `app=${name}`);
    return /Succeeded|Failed/.test(pod?.status.phase ?? '') && pod?.status.phase;
  });
  expect(`${name} ${phase}`).toBe(`${name} Succeeded`);
};

const running = (namespace: Namespace, name: string) =>
  namespace.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s');

test('the first request of a new pod has its name, though it is gone a moment later', {
  timeout,
}, async () => {
  await using space = await Namespace.make('first-request');
  await space.create(server('web'), service('web', 'web'));
  await running(space, 'web');
  await space.create(script('probe', 'until curl -sf http://web:9080/ratings/1; do sleep 0.2; done'));
  await ended(space, 'probe');
  for (let index = 0; index < 5; index++) {
    await space.create(script(`caller-${index}`, 'curl -sf http://web:9080/ratings/1'));
    await ended(space, `caller-${index}`);
    await space.kubectl('delete', 'pod', `caller-${index}`);
  }
  const callers = Array.from({ length: 5 }, (_, index) => `caller-${index}`);
  const expected = Object.fromEntries(['probe', ...callers].map((caller) => [`${caller} -> web`, 1]));
  await until('all are named', async () => {
    const names = Object.keys(exchanges(await scrape(), 'server', space));
    return names.length >= callers.length + 1;
  });
  const page = await scrape();
  expect(exchanges(page, 'server', space)).toEqual(expected);
  expect(exchanges(page, 'client', space)).toEqual(expected);
});

test('while the API server can not be reached, names stay, and requests of a pod that it does not know wait for theirs', {
  timeout,
}, async () => {
  await using space = await Namespace.make('cut-off');
  await space.manifest('load.yaml');
  await space.create(server('web'), service('web', 'web'));
  await running(space, 'web');
  const { podIP } = (await space.pod('web')).status;
  const ask = (count: number) =>
    space.exec('deploy/load', 'curl', '-sf', `http://${podIP}:9080/ratings/[1-${count}]`);
  await ask(2);
  await until('names', async () => exchanges(await scrape(), 'server', space)['load -> web'] === 2);

  // The kubelet starts what lies in its own directory, and tells the API server when it can.
  const file = join(facts.manifests, 'early.yaml');
  const early = script('early', `curl -sf http://${podIP}:9080/ratings/[1-5] && sleep infinity`);
  const manifest = stringify({ ...early, metadata: { ...early.metadata, namespace: space.name } });
  try {
    {
      using _ = cutOff();
      writeFileSync(file, manifest);
      await ask(3);
      await until('the requests', async () => (await space.accessLog('web'))['GET 200 /ratings/5'] === 1);
      for (const role of ['client', 'server'] as const)
        await until(role, async () => exchanges(await scrape(), role, space)['load -> web'] === 5);
      const page = await scrape();
      for (const role of ['client', 'server'] as const)
        expect(exchanges(page, role, space)).toEqual({ 'load -> web': 5 });
      expect(page.sum('meshtap_identity_held')).toBeGreaterThan(0);
    }
    await until('a name', async () => 'early -> web' in exchanges(await scrape(), 'server', space));
    const page = await scrape();
    for (const role of ['client', 'server'] as const)
      expect(exchanges(page, role, space)).toEqual({ 'load -> web': 5, 'early -> web': 5 });
  } finally {
    rmSync(file, { force: true });
  }
});

/** Whoever is on the node does not reach the API server, until this is disposed. Others do. */
function cutOff(): Disposable {
  const rule = (verb: string) =>
    onNode(`iptables ${verb} OUTPUT -p tcp --dport 6443 -j REJECT --reject-with tcp-reset`);
  rule('-I');
  return { [Symbol.dispose]: () => void rule('-D') };
}

test('a rolling update changes no name', { timeout }, async () => {
  await using space = await Namespace.make('rolling');
  await space.manifest('bookinfo.yaml');
  await space.manifest('load.yaml');
  const ask = async (count: number) => {
    const curl = ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}\\n'];
    const codes = await space.exec('deploy/load', ...curl, `http://details:9080/details/[1-${count}]`);
    return tally(codes.split('\n').filter(Boolean))['200'] ?? 0;
  };
  const before = await ask(20);
  const { metadata } = await space.pod('details');
  await space.kubectl('set', 'env', 'deployment/details-v1', 'GENERATION=2');
  await space.kubectl('rollout', 'status', 'deployment/details-v1', '--timeout=180s');
  await until('the old pod is gone', async () => (await space.pod('details')).metadata.uid !== metadata.uid);
  const after = await ask(20);
  expect([before, after]).toEqual([20, 20]);
  const page = await scrape();
  for (const role of ['client', 'server'] as const) {
    const samples = page.of(`http_${role}_request_duration_seconds_count`, {
      destination_namespace: space.name,
      destination_service: 'details',
    });
    expect(
      tally(samples.map(({ labels }) => `${labels.source_workload} -> ${labels.destination_workload}`)),
    ).toEqual({
      'load -> details-v1': 1,
    });
    expect(samples.reduce((sum, { value }) => sum + value, 0)).toBe(40);
  }
});

test('who gets the address of a pod that is gone, gets none of its numbers', { timeout }, async () => {
  await using space = await Namespace.make('reuse');
  await space.manifest('load.yaml');
  const ask = (address: string, count: number) =>
    space.exec('deploy/load', 'ab', '-q', '-n', String(count), `http://${address}:9080/ratings/1`);
  await space.create(server('first'));
  await running(space, 'first');
  const address = (await space.pod('first')).status.podIP!;
  await ask(address, 11);
  await space.kubectl('delete', 'pod', 'first');
  giveNext(address);
  await space.create(server('second'));
  await running(space, 'second');
  expect((await space.pod('second')).status.podIP).toBe(address);
  await ask(address, 7);
  const expected = { 'load -> first': 11, 'load -> second': 7 };
  await until(
    'all are named',
    async () => Object.keys(exchanges(await scrape(), 'client', space)).length >= 2,
  );
  const page = await scrape();
  expect(exchanges(page, 'server', space)).toEqual(expected);
  expect(exchanges(page, 'client', space)).toEqual(expected);
});

test('a pod with the network of the node is itself, not the node', { timeout }, async () => {
  await using space = await Namespace.make('host-network');
  await space.create(server('web', { spec: { hostNetwork: true } }));
  await running(space, 'web');
  await space.create(
    script('caller', `curl -sf http://${facts.node}:9080/ratings/[1-3]`),
    script('caller-there', `curl -sf http://${facts.node}:9080/ratings/[1-2]`, { hostNetwork: true }),
  );
  await ended(space, 'caller');
  await ended(space, 'caller-there');
  const page = await scrape();
  const expected = { 'caller -> web': 3, 'caller-there -> web': 2 };
  expect(exchanges(page, 'server', space)).toEqual(expected);
  expect(exchanges(page, 'client', space)).toEqual(expected);
});

test('from outside: the world where its address is seen, the node where that hides it', {
  timeout,
}, async () => {
  await using space = await Namespace.make('outside');
  await space.create(
    server('web'),
    service('web', 'web'),
    service('hidden', 'web', { type: 'NodePort' }),
    service('seen', 'web', { type: 'NodePort', externalTrafficPolicy: 'Local' }),
  );
  await running(space, 'web');
  const ask = async (name: string, count: number) => {
    const services = await list<Service>('services', '-n', space.name);
    const port = services.find(({ metadata }) => metadata.name === name)?.spec.ports[0]?.nodePort;
    const url = `http://${facts.node}:${port}/ratings/${name}`;
    // Before kube-proxy has its rules it listens at the port itself, and never answers.
    for (let index = 0; index < count; index++)
      await until(name, async () => (await fetch(url, { signal: AbortSignal.timeout(5000) })).ok);
  };
  await ask('hidden', 3);
  await ask('seen', 2);
  const log = await space.accessLog('web');
  const expected = {
    'node -> web': log['GET 200 /ratings/hidden'],
    'world -> web': log['GET 200 /ratings/seen'],
  };
  expect(Object.values(expected)).toEqual([expect.any(Number), expect.any(Number)]);
  expect(exchanges(await scrape(), 'server', space)).toEqual(expected);
});

interface Service {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly ports: readonly { readonly nodePort?: number }[] };
}

test('a pod that calls itself through its service is itself, though its address is hidden from it', {
  timeout,
}, async () => {
  await using space = await Namespace.make('itself');
  await space.create(server('web'), service('web', 'web'));
  await running(space, 'web');
  await until('an answer', () => space.exec('web', 'curl', '-sf', 'http://web:9080/ratings/1'));
  await space.exec('web', 'curl', '-sf', 'http://web:9080/ratings/[2-4]');
  const page = await scrape();
  for (const role of ['client', 'server'] as const)
    expect(exchanges(page, role, space)).toEqual({ 'web -> web': 4 });
});

test('a headless service gives its pods their name, one of a name outside nobody', { timeout }, async () => {
  await using space = await Namespace.make('no-address');
  await space.create(
    server('db-0', { labels: { app: 'db' } }),
    service('database', 'db', { clusterIP: 'None' }),
    server('web'),
  );
  for (const name of ['db-0', 'web']) await running(space, name);
  const address = async (app: string) => (await space.pod(app)).status.podIP!;
  const [db, web] = [await address('db'), await address('web')];
  await space.create(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'outside' },
      spec: { type: 'ExternalName', externalName: web },
    },
    script('caller', `curl -sf http://${db}:9080/ratings/[1-3] && curl -sf http://${web}:9080/ratings/[1-2]`),
  );
  await ended(space, 'caller');
  const page = await scrape();
  for (const role of ['client', 'server'] as const)
    expect(exchanges(page, role, space)).toEqual({ 'caller -> database': 3, 'caller -> web': 2 });
});

test('a service that is dialled has its name, whoever answers', { timeout }, async () => {
  await using space = await Namespace.make('dialled');
  const elsewhere = createServer((_, response) => response.end('fine')).listen(0, facts.outside);
  await once(elsewhere, 'listening');
  const { port } = elsewhere.address() as AddressInfo;
  await space.create(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'elsewhere' },
      spec: { ports: [{ port: 9080, targetPort: port }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { name: 'elsewhere' },
      subsets: [{ addresses: [{ ip: facts.outside }], ports: [{ port }] }],
    },
    script(
      'caller',
      'until curl -sf http://elsewhere:9080/1; do sleep 0.2; done; curl -sf http://elsewhere:9080/[2-4]',
    ),
  );
  await ended(space, 'caller');
  elsewhere.close();
  expect(exchanges(await scrape(), 'client', space)).toEqual({ 'caller -> elsewhere': 4 });
});

/** Has host-local, which hands addresses out in turn, begin with this one. */
function giveNext(address: string): void {
  const file = join(facts.state, 'lib/cni/networks/pods/last_reserved_ip.0');
  readFileSync(file); // that it is there is what this stands on
  const [last, ...rest] = address.split('.').map(Number).reverse();
  writeFileSync(file, [last! - 1, ...rest].reverse().join('.'));
}
