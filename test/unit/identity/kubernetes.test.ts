import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Question } from '../../../src/identity/identity.js';
import { type KubernetesOptions, kubernetes } from '../../../src/identity/kubernetes.js';
import { testResolver } from '../../contract/resolver.js';
import { temporaryDirectory } from '../../support/bpf.js';
import { type KubernetesObject, SmallKubernetes } from '../../support/small-kubernetes.js';

const POD = '0f2c9d5e-6d1a-4b0e-8f33-3b1f0c9a7d42';
const cgroups = {
  pathOf: (id: bigint) => (id === 7n ? `/kubepods/besteffort/pod${POD}/${'c'.repeat(64)}` : undefined),
};

const inPod: Question = { endpoint: { kind: 'cgroup', cgroup: 7n }, role: 'client', port: undefined };
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

interface PodOptions {
  uid?: string;
  ip?: string;
  ips?: string[];
  node?: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  owner?: [kind: string, name: string, uid?: string];
  hostNetwork?: boolean;
  ports?: object[];
  status?: object;
  metadata?: object;
}

const pod = (name: string, options: PodOptions = {}): KubernetesObject => {
  const {
    uid,
    ip,
    ips = ip ? [ip] : [],
    node = 'here',
    namespace = 'shop',
    labels,
    annotations,
    owner,
  } = options;
  const { hostNetwork, ports = [], status = {}, metadata } = options;
  return {
    metadata: {
      name,
      namespace,
      ...(uid && { uid }),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      ...(owner && {
        ownerReferences: [{ kind: owner[0], name: owner[1], uid: owner[2] ?? owner[1], controller: true }],
      }),
      ...metadata,
    },
    spec: { nodeName: node, ...(hostNetwork && { hostNetwork }), containers: [{ name: 'c', ports }] },
    status: { phase: 'Running', podIP: ips[0], podIPs: ips.map((ip) => ({ ip })), ...status },
  };
};
const service = (
  name: string,
  spec: object,
  more: { namespace?: string; status?: object } = {},
): KubernetesObject => ({
  metadata: { name, namespace: more.namespace ?? 'shop' },
  spec,
  status: more.status ?? {},
});
const node = (name: string, address: string, spec: object = {}): KubernetesObject => ({
  metadata: { name },
  spec,
  status: { addresses: [{ type: 'InternalIP', address }] },
});

async function small(options = {}) {
  const server = await SmallKubernetes.start(options);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

function resolverOf(server: SmallKubernetes, { tuning, ...options }: Partial<KubernetesOptions> = {}) {
  const file = join(temporaryDirectory(), 'kubeconfig');
  writeFileSync(file, server.kubeconfig());
  const resolver = kubernetes({
    cgroups,
    kubeconfig: file,
    node: 'here',
    tuning: { backoff: { first: 10, longest: 100 }, ...tuning },
    ...options,
  });
  onTestFinished(() => resolver[Symbol.asyncDispose]());
  return resolver;
}

async function started(server: SmallKubernetes, options: Partial<KubernetesOptions> = {}) {
  const resolver = resolverOf(server, options);
  await resolver.start(new AbortController().signal);
  return resolver;
}

async function until(check: () => unknown): Promise<void> {
  for (const end = Date.now() + 50_000; !check(); await sleep(5))
    if (Date.now() > end) throw new Error('never');
}

testResolver('kubernetes', {
  create: async () => {
    const server = await small();
    server.set('pods', pod('web', { uid: POD, ip: '10.0.0.1' }));
    return resolverOf(server);
  },
  known: () => inPod,
});

describe('a pod is called', () => {
  const nameOf = async (
    options: PodOptions,
    more: Partial<KubernetesOptions> = {},
    ...services: KubernetesObject[]
  ) => {
    const server = await small();
    for (const each of services) server.set('services', each);
    server.set('pods', pod('web-6c4d9-x', { ip: '10.0.0.1', ...options }));
    return (await started(server, more)).resolve(from('10.0.0.1'));
  };
  const owner = ['ReplicaSet', 'web-6c4d9'] as [string, string];
  const labels = { app: 'label-app', 'app.kubernetes.io/name': 'label-name', 'pod-template-hash': '6c4d9' };
  const annotations = { 'resource.opentelemetry.io/service.name': 'annotated' };
  const selecting = service('selecting', {
    selector: { app: 'label-app' },
    clusterIP: '10.96.0.1',
    ports: [{ port: 80 }],
  });

  test("by OpenTelemetry's annotation", async () =>
    expect((await nameOf({ labels, annotations, owner }, {}, selecting))?.service).toBe('annotated'));
  test('then by the service that selects it', async () =>
    expect((await nameOf({ labels, owner }, {}, selecting))?.service).toBe('selecting'));
  test('then by app.kubernetes.io/name', async () =>
    expect((await nameOf({ labels, owner }))?.service).toBe('label-name'));
  test('then by app', async () => expect((await nameOf({ labels: { app: 'a' }, owner }))?.service).toBe('a'));
  test('then by its workload', async () => expect((await nameOf({ owner }))?.service).toBe('web-6c4d9'));
  test('then by its own name', async () => expect((await nameOf({}))?.service).toBe('web-6c4d9-x'));

  test("in the order that is configured: OpenTelemetry's own", async () => {
    const serviceName = [
      'annotation',
      'label:app.kubernetes.io/instance',
      'label:app.kubernetes.io/name',
      'workload',
    ];
    expect((await nameOf({ labels, owner }, { serviceName }, selecting))?.service).toBe('label-name');
    expect(
      (await nameOf({ labels: { 'pod-template-hash': '6c4d9' }, owner }, { serviceName }, selecting))
        ?.service,
    ).toBe('web');
  });

  test('and runs as the deployment, before its replica set is known', async () => {
    expect(await nameOf({ labels: { ...labels, version: 'v2' }, owner })).toEqual({
      service: 'label-name',
      namespace: 'shop',
      workload: 'web',
      labels: { kind: 'Deployment', app: 'label-app', version: 'v2' },
      watched: true,
    });
  });

  test('a static pod without its node', async () => {
    const options: PodOptions = { owner: ['Node', 'here'], namespace: 'kube-system' };
    const server = await small();
    server.set('pods', pod('etcd-here', { ...options, ip: '10.0.0.1' }));
    expect((await started(server)).resolve(from('10.0.0.1'))).toMatchObject({
      service: 'etcd',
      workload: 'etcd',
    });
  });

  test('of several services by the one with an address, then the widest, whatever else comes', async () => {
    const selector = { app: 'label-app' };
    const wide = service('wider', { selector, clusterIP: '10.96.0.1' });
    const headless = service('a', { selector, clusterIP: 'None' });
    const narrow = service('b', {
      selector: { ...selector, 'app.kubernetes.io/name': 'label-name' },
      clusterIP: '10.96.0.2',
    });
    const other = service('c', { selector: { app: 'another' }, clusterIP: '10.96.0.3' });
    for (const services of [
      [wide, headless, narrow, other],
      [other, narrow, headless, wide],
    ])
      expect((await nameOf({ labels }, {}, ...services))?.service).toBe('wider');
    expect((await nameOf({ labels }, {}, headless))?.service).toBe('a');
    expect(
      (await nameOf({ labels }, {}, { ...wide, metadata: { name: 'wider', namespace: 'elsewhere' } }))
        ?.service,
    ).toBe('label-name');
  });

  test('with its own name and address only if they are asked for', async () => {
    expect((await nameOf({}, { details: ['pod', 'address'] }))?.labels).toEqual({
      kind: 'Pod',
      pod: 'web-6c4d9-x',
      address: '10.0.0.1',
    });
  });
});

describe('a pod of this node', () => {
  test('is known by its cgroup, and after its end', async () => {
    const server = await small();
    server.set('pods', pod('web', { uid: POD, ip: '10.0.0.1' }));
    const resolver = await started(server);
    expect(resolver.resolve(inPod)?.service).toBe('web');
    server.remove('pods', 'shop', 'web');
    await until(() => resolver.resolve(from('10.0.0.1')) === undefined);
    expect(resolver.resolve(inPod)?.service).toBe('web');
    expect(resolver.pending?.(from('10.0.0.1'))).toBe(true);
  });

  test('is waited for while nobody told of it; what is in no pod is not', async () => {
    const server = await small();
    const resolver = await started(server);
    expect(resolver.resolve(inPod)).toBeUndefined();
    expect(resolver.pending?.(inPod)).toBe(true);
    expect(resolver.pending?.({ ...inPod, endpoint: { kind: 'cgroup', cgroup: 8n } })).toBe(false);
    server.set('pods', pod('web', { uid: POD, ip: '10.0.0.1' }));
    await until(() => resolver.resolve(inPod)?.service === 'web');
  });

  test('that is static is found by the hash of its manifest', async () => {
    const server = await small();
    server.set(
      'pods',
      pod('etcd-here', { annotations: { 'kubernetes.io/config.hash': POD }, owner: ['Node', 'here'] }),
    );
    expect((await started(server)).resolve(inPod)?.service).toBe('etcd');
  });

  test('that is scheduled here was not deleted elsewhere', async () => {
    const server = await small();
    const resolver = await started(server);
    server.set('pods', pod('web', { uid: POD, node: '', status: { phase: 'Pending' } }));
    server.set('pods', pod('web', { uid: POD, node: 'here', status: { phase: 'Pending' } }));
    server.set('pods', pod('web', { uid: POD, node: 'here', ip: '10.0.0.1' }));
    await until(() => resolver.resolve(from('10.0.0.1'))?.service === 'web');
    await sleep(50);
    expect(resolver.resolve(inPod)?.service).toBe('web');
  });
});

describe('an address', () => {
  test("of both families is a pod's, in any spelling", async () => {
    const server = await small();
    server.set('pods', pod('web', { node: 'there', ips: ['10.0.0.1', 'FD00:0:0:0::1'] }));
    const resolver = await started(server);
    for (const address of ['10.0.0.1', '::ffff:10.0.0.1', 'fd00::1'])
      expect(resolver.resolve(from(address))?.service).toBe('web');
  });

  test.each([
    ['has succeeded', { status: { phase: 'Succeeded' } }],
    ['has failed', { status: { phase: 'Failed' } }],
    [
      'is being deleted and has stopped',
      {
        metadata: { deletionTimestamp: 'now' },
        status: { containerStatuses: [{ state: { terminated: {} } }] },
      },
    ],
  ])("is nobody's once the pod %s", async (_, ending) => {
    for (const node of ['here', 'there']) {
      const server = await small();
      server.set('pods', pod('web', { node, ip: '10.0.0.1' }));
      const resolver = await started(server);
      expect(resolver.resolve(from('10.0.0.1'))?.service).toBe('web');
      server.set('pods', pod('web', { node, ip: '10.0.0.1', ...ending }));
      await until(() => resolver.resolve(from('10.0.0.1')) === undefined);
    }
  });

  test("is the last one's who got it, and who is told of late changes nothing", async () => {
    const server = await small();
    server.set('pods', pod('old', { node: 'there', ip: '10.0.0.1' }));
    const resolver = await started(server);
    server.set('pods', pod('new', { node: 'there', ip: '10.0.0.1' }));
    await until(() => resolver.resolve(from('10.0.0.1'))?.service === 'new');
    server.set('pods', pod('old', { node: 'there', ip: '10.0.0.1', labels: { some: 'label' } }));
    server.set('pods', pod('marker', { node: 'there', ip: '10.0.0.2' }));
    await until(() => resolver.resolve(from('10.0.0.2')));
    expect(resolver.resolve(from('10.0.0.1'))?.service).toBe('new');
    server.remove('pods', 'shop', 'old');
    server.remove('pods', 'shop', 'marker');
    await until(() => resolver.resolve(from('10.0.0.2')) === undefined);
    expect(resolver.resolve(from('10.0.0.1'))?.service).toBe('new');
  });

  test('of this machine or this cable is not waited for', async () => {
    const resolver = await started(await small());
    for (const address of ['127.0.0.1', '::1', '169.254.20.10', 'fe80::1', 'nonsense'])
      expect([address, resolver.pending?.(from(address))]).toEqual([address, false]);
    expect(resolver.pending?.(from('10.9.9.9'))).toBe(true);
  });

  test('that is public is told apart by the kernel', async () => {
    const server = await small();
    server.set('pods', pod('web', { node: 'there', ips: ['10.0.0.1', '2001:db9::1:2:3:4'] }));
    server.set('nodes', node('there', '198.51.99.7', { podCIDRs: ['2001:dba::/56', '10.0.0.0/24'] }));
    server.set(
      'services',
      service(
        'out',
        { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
        {
          status: { loadBalancer: { ingress: [{ ip: '93.184.216.34' }, { hostname: 'lb.example.com' }] } },
        },
      ),
    );
    const resolver = await started(server);
    const prefixes = resolver.prefixes?.().map(({ cidr, id }) => `${cidr} ${id}`);
    expect(prefixes?.sort()).toEqual([
      '198.51.99.7/32 address',
      '2001:db9::/64 address',
      '2001:dba::/56 address',
      '93.184.216.34/32 address',
    ]);
  });
});

describe('a service', () => {
  const cluster = async () => {
    const server = await small();
    const ports = [{ port: 80, nodePort: 30080 }];
    server.set(
      'services',
      service('shop', {
        type: 'LoadBalancer',
        selector: { app: 'web' },
        clusterIP: '10.96.0.1',
        clusterIPs: ['10.96.0.1', 'fd00:96::1'],
        ports,
        externalIPs: ['10.8.0.1'],
      }),
    );
    server.set(
      'services',
      service('second', { clusterIP: '10.96.0.2', ports: [{ port: 81 }], externalIPs: ['10.8.0.1'] }),
    );
    server.set(
      'services',
      service('headless', { selector: { app: 'db' }, clusterIP: 'None', ports: [{ port: 5432 }] }),
    );
    server.set('services', service('outside', { type: 'ExternalName', externalName: '10.0.0.5' }));
    server.set('pods', pod('inside', { node: 'there', ip: '10.0.0.5' }));
    server.set('nodes', node('here', '10.1.0.1'));
    server.set('nodes', node('there', '10.1.0.2'));
    server.set(
      'pods',
      pod('web-1', { ip: '10.0.0.1', labels: { app: 'web', version: 'v1' }, owner: ['StatefulSet', 'web'] }),
    );
    server.set(
      'pods',
      pod('web-2', {
        node: 'there',
        ip: '10.0.0.2',
        labels: { app: 'web', version: 'v2' },
        owner: ['StatefulSet', 'web'],
      }),
    );
    server.set(
      'pods',
      pod('db-0', {
        node: 'there',
        ip: '10.0.0.3',
        labels: { app: 'db', 'statefulset.kubernetes.io/pod-name': 'db-0' },
        owner: ['StatefulSet', 'db'],
      }),
    );
    server.set(
      'pods',
      pod('proxy', { node: 'there', hostNetwork: true, ip: '10.1.0.2', ports: [{ containerPort: 9000 }] }),
    );
    server.set(
      'pods',
      pod('dns', { node: 'there', ip: '10.0.0.4', ports: [{ containerPort: 53, hostPort: 5353 }] }),
    );
    return server;
  };
  const whole = async (options: Partial<KubernetesOptions> = {}) => started(await cluster(), options);

  test('is who was dialled at its addresses, with what all its pods have in common', async () => {
    const resolver = await whole();
    const shop = {
      service: 'shop',
      namespace: 'shop',
      workload: 'web',
      labels: { kind: 'StatefulSet', app: 'web' },
      watched: false,
    };
    for (const address of ['10.96.0.1', 'fd00:96::1'])
      expect(resolver.resolve(to(address, 80))).toEqual(shop);
    expect(resolver.resolve(from('10.96.0.1'))).toBeUndefined();
  });

  test('shares an address with others, at its own ports', async () => {
    const resolver = await whole();
    const names = [80, 81, 82].map((port) => resolver.resolve(to('10.8.0.1', port))?.service);
    expect(names).toEqual(['shop', 'second', undefined]);
  });

  test('that is headless has the addresses of its pods; one of a name outside has none', async () => {
    const resolver = await whole();
    expect(resolver.resolve(to('10.0.0.3', 5432))).toMatchObject({ service: 'headless', workload: 'db' });
    expect(resolver.resolve(to('10.0.0.5', 443))?.service).toBe('inside');
  });

  test('is at its port of any node; what else is there is a pod with that port, or the node', async () => {
    const resolver = await whole();
    expect(resolver.resolve(to('10.1.0.1', 30080))?.service).toBe('shop');
    expect(resolver.resolve(to('10.1.0.2', 30080))?.service).toBe('shop');
    expect(resolver.resolve(to('10.1.0.2', 9000))?.service).toBe('proxy');
    expect(resolver.resolve(to('10.1.0.2', 5353))?.service).toBe('dns');
    expect(resolver.resolve(to('10.1.0.1', 9000))?.service).toBe('node');
    // Who calls from there may be anyone on it, or behind it.
    expect(resolver.resolve(from('10.1.0.2'))).toMatchObject({
      service: 'node',
      workload: 'node',
      namespace: '',
    });
  });

  test('nor is a node a pod by the addresses that it has among pods', async () => {
    const server = await small();
    const there = node('there', '10.1.0.2', { podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'] });
    const annotations = {
      'projectcalico.org/IPv4VXLANTunnelAddr': '10.245.7.64',
      'example.com/note': '10.9.9.9',
    };
    server.set('nodes', { ...there, metadata: { ...there.metadata, annotations } });
    server.set('pods', pod('web', { node: 'there', ip: '10.244.1.2' }));
    const resolver = await started(server);
    const names = [
      '10.244.1.0',
      '10.244.1.1',
      'fd00:244:1::1',
      '10.245.7.64',
      '10.244.1.2',
      '10.244.1.3',
      '10.9.9.9',
    ];
    expect(names.map((address) => resolver.resolve(from(address))?.service)).toEqual([
      'node',
      'node',
      'node',
      'node',
      'web',
      undefined,
      undefined,
    ]);
    const own = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .find(({ internal }) => !internal);
    if (own) expect(resolver.resolve(from(own.address))?.service).toBe('node');
  });

  test('is watched where all its pods are', async () => {
    const server = await cluster();
    const resolver = await started(server);
    const watched = () => [
      resolver.resolve(from('10.0.0.1'))?.watched,
      resolver.resolve(from('10.0.0.2'))?.watched,
      resolver.resolve(to('10.96.0.1', 80))?.watched,
      resolver.resolve(from('10.1.0.2'))?.watched,
    ];
    expect(watched()).toEqual([true, false, false, false]);
    const agent = { node: 'there', hostNetwork: true, labels: { 'app.kubernetes.io/name': 'meshtap' } };
    server.set('pods', pod('meshtap-1', agent));
    await until(() => watched()[1]);
    expect(watched()).toEqual([true, true, true, true]);
    server.set('pods', pod('meshtap-1', { ...agent, status: { phase: 'Pending' } }));
    await until(() => !watched()[1]);
    expect(watched()).toEqual([true, false, false, false]);
  });
});

describe('whatever happens to the server', () => {
  const one = async (options = {}) => {
    const server = await small(options);
    server.set('pods', pod('web', { node: 'there', ip: '10.0.0.1' }));
    return server;
  };

  test('a dropped watch is taken up where it was, without listing again', async () => {
    const server = await one();
    const resolver = await started(server);
    await until(() => server.log.filter((line) => line.startsWith('WATCH')).length === 7);
    server.log.length = 0;
    server.dropWatches();
    server.set('pods', pod('late', { node: 'there', ip: '10.0.0.2' }));
    await until(() => resolver.resolve(from('10.0.0.2')));
    expect(server.log.filter((line) => line.startsWith('LIST'))).toEqual([]);
  });

  test('a forgotten moment is made up for by one list; what went meanwhile is gone, and was settled first', async () => {
    const server = await one();
    const resolver = resolverOf(server);
    const settled: (string | undefined)[] = [];
    resolver.attach?.({
      log: pino({ level: 'silent' }),
      settle: async () => void settled.push(resolver.resolve(from('10.0.0.1'))?.service),
      prefixesChanged: () => {},
    });
    await resolver.start(new AbortController().signal);
    await server.down();
    server.remove('pods', 'shop', 'web');
    server.set('pods', pod('next', { node: 'there', ip: '10.0.0.1' }));
    server.compact();
    server.log.length = 0;
    await server.up();
    await until(() => resolver.resolve(from('10.0.0.1'))?.service === 'next');
    expect(server.log.filter((line) => line === 'LIST pods').length).toBeLessThanOrEqual(2);
    expect(settled).toEqual(['web']);
  });

  test('a list that takes longer than the server remembers is fetched in one piece', async () => {
    const server = await one();
    for (let i = 2; i < 20; i++) server.set('pods', pod(`web-${i}`, { node: 'there', ip: `10.0.0.${i}` }));
    server.slow = 30;
    const forgetting = setInterval(() => server.compact(), 20);
    onTestFinished(() => clearInterval(forgetting));
    const resolver = await started(server, { tuning: { pageSize: 5, startWithin: 1 } });
    await until(() => resolver.resolve(from('10.0.0.19')));
    for (let i = 2; i < 20; i++) expect(resolver.resolve(from(`10.0.0.${i}`))?.service).toBe(`web-${i}`);
  });

  test('that is down when it starts: starts without it, says so, and has it later', async () => {
    const server = await one();
    await server.down();
    const resolver = await started(server);
    expect(resolver.status()).toContain('ECONNREFUSED');
    expect(resolver.status()).toContain('nothing known');
    expect(resolver.pending?.(from('10.0.0.1'))).toBe(true);
    await server.up();
    await until(() => resolver.resolve(from('10.0.0.1')));
    await until(() => !resolver.status().includes('ECONNREFUSED'));
  });

  test('that can not be connected to is not waited for as long as the kernel tries', async () => {
    // Nobody ever answers the first thing that is said to it.
    const attempts = new Set<Socket>();
    const mute = createServer((socket) => attempts.add(socket)).listen(0, '127.0.0.1');
    onTestFinished(() => {
      for (const socket of attempts) socket.destroy();
      mute.close();
    });
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const kubeconfig = join(temporaryDirectory(), 'kubeconfig');
    const server = await small();
    writeFileSync(kubeconfig, server.kubeconfig().replace(server.url, `https://127.0.0.1:${port}`));
    const resolver = await started(server, { kubeconfig, tuning: { connect: 50 } });
    expect(resolver.status()).toContain(`127.0.0.1:${port} let nobody connect for 0.05 s`);
    const before = attempts.size;
    await until(() => attempts.size >= before + 7);
  });

  test('that is down: goes on with what it has, and says how old it is', async () => {
    const server = await one();
    const resolver = await started(server);
    const age = () => resolver.ages?.()['pods of other nodes'] ?? -1;
    expect(age()).toBeGreaterThanOrEqual(0);
    await server.down();
    await until(() => /pods.*: .*known is what was \d+ s ago/.test(resolver.status()));
    const before = age();
    await until(() => age() > before + 0.1);
    expect(resolver.resolve(from('10.0.0.1'))?.service).toBe('web');
  });

  test.each([403, 429, 500, 503])('%i is told, and tried again', async (refuse) => {
    const server = await one();
    server.refuse = refuse;
    const resolver = await started(server);
    expect(resolver.status()).toMatch(new RegExp(`services.*: ${refuse} refused by the test`));
    server.refuse = undefined;
    await until(() => resolver.resolve(from('10.0.0.1')));
  });

  test('a token that expires is read again', async () => {
    const server = await one({ token: 'first' });
    const directory = temporaryDirectory();
    const kubeconfig = join(directory, 'kubeconfig');
    const config = JSON.parse(server.kubeconfig());
    config.users[0].user = { tokenFile: 'token' };
    writeFileSync(kubeconfig, JSON.stringify(config));
    writeFileSync(join(directory, 'token'), 'first\n');
    const resolver = await started(server, { kubeconfig });
    writeFileSync(join(directory, 'token'), 'second\n');
    server.token = 'second';
    server.dropWatches();
    server.set('pods', pod('late', { node: 'there', ip: '10.0.0.2' }));
    await until(() => resolver.resolve(from('10.0.0.2')));
    // And one that nobody replaced is told.
    server.token = 'third';
    server.dropWatches();
    await until(() => resolver.status().includes('401 Unauthorized'));
    expect(resolver.resolve(from('10.0.0.2'))?.service).toBe('late');
  });

  test('a clock that is hours ahead or behind changes nothing', async () => {
    for (const skew of [-36_000_000, 36_000_000]) {
      const server = await small();
      server.skew = skew;
      server.set('pods', pod('old', { node: 'there', ip: '10.0.0.1' }));
      const resolver = await started(server);
      server.remove('pods', 'shop', 'old');
      server.set('pods', pod('new', { node: 'there', ip: '10.0.0.1' }));
      await until(() => resolver.resolve(from('10.0.0.1'))?.service === 'new');
      expect(Math.max(...Object.values(resolver.ages?.() ?? {}))).toBeLessThan(60);
    }
  });

  test.each([[['v1']], [['v1', 'v1beta1']], [[]]])(
    'endpoint slices %j, or else Endpoints',
    async (discovery) => {
      const server = await small({ discovery });
      server.set('endpoints', {
        metadata: { name: 'database', namespace: 'shop' },
        subsets: [{ addresses: [{ ip: '10.7.0.1' }, { ip: '10.0.0.1', targetRef: { kind: 'Pod' } }] }],
      });
      server.set('endpointslices', {
        metadata: {
          name: 'database-x',
          namespace: 'shop',
          labels: { 'kubernetes.io/service-name': 'database' },
        },
        endpoints: [{ addresses: ['10.7.0.1'] }, { addresses: ['10.0.0.1'], targetRef: { kind: 'Pod' } }],
      });
      const resolver = await started(server);
      expect(resolver.resolve(to('10.7.0.1', 5432))?.service).toBe('database');
      expect(resolver.resolve(to('10.0.0.1', 5432))).toBeUndefined();
    },
  );
});
