import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Agent, createAgent } from '../../src/agent.js';
import { cgroup } from '../../src/identity/cgroup.js';
import { containers } from '../../src/identity/containers.js';
import { ebpf } from '../../src/receivers/ebpf.js';
import { testResolver } from '../contract/resolver.js';
import { PATIENTLY } from '../support/agent.js';
import { cgroupRoot } from '../support/cgroup.js';
import { CgroupEverywhere, Containerd, Podman } from '../support/containers.js';
import { ADDRESSES, Namespaces } from '../support/netns.js';

const busybox = (...words: string[]) => ['/bin/busybox', ...words];
const SERVER = busybox('httpd', '-f', '-p', '8080', '-h', '/www');

/** Asks so often, and then stays, or is gone. */
const client = (address: string, times: number, then = 'sleep 1000') => {
  const ask = `/bin/busybox wget -q -O /dev/null http://${address}:8080/index.html`;
  return busybox('sh', '-c', `for i in $(/bin/busybox seq ${times}); do ${ask}; done; /bin/busybox ${then}`);
};

let podman: Podman;
let scope: CgroupEverywhere;
let directory: string;

beforeAll(async () => {
  podman = await Podman.start();
  scope = new CgroupEverywhere();
  directory = join(cgroupRoot(), scope.path);
  mkdirSync(directory);
}, PATIENTLY.timeout);

afterAll(async () => {
  await podman[Symbol.asyncDispose]();
  await scope[Symbol.asyncDispose]();
}, PATIENTLY.timeout);

async function agentOf(socket: string): Promise<Agent> {
  const cgroups = cgroup({ watched: directory });
  const agent = await createAgent({
    receivers: [ebpf({ cgroup: directory })],
    resolvers: [containers({ cgroups, sockets: [socket], watched: directory }), cgroups],
  });
  onTestFinished(() => agent[Symbol.asyncDispose]());
  return agent;
}

type Seen = Record<string, number>;

/** Requests by side and the names of both ends. */
async function requests(agent: Agent): Promise<Seen> {
  const seen: Seen = {};
  for (const { ends, counts } of (await agent.snapshot()).requests) {
    const who = ({ service, namespace, workload }: typeof ends.source) =>
      `${namespace}/${service} (${workload})`;
    const key = `${ends.role}: ${who(ends.source)} -> ${who(ends.destination)}`;
    seen[key] = (seen[key] ?? 0) + counts.duration.count;
  }
  return seen;
}

/** Looks until all requests are there, under whatever names. */
async function settled(agent: Agent, total: number): Promise<Seen> {
  for (const end = Date.now() + 50_000; ; await sleep(100)) {
    const seen = await requests(agent);
    if (Object.values(seen).reduce((sum, count) => sum + count, 0) >= total || Date.now() > end) return seen;
  }
}

describe('podman', () => {
  testResolver('containers', {
    create: () => containers({ cgroups: cgroup(), sockets: [`docker:${podman.socket}`] }),
  });

  test('names are right on both sides, from the first request', PATIENTLY, async () => {
    using network = new Namespaces();
    const agent = await agentOf(`docker:${podman.socket}`);
    const labels = (service: string) => ({
      'com.docker.compose.project': 'shop',
      'com.docker.compose.service': service,
    });
    const at = (netns: string) => ({ cgroup: scope.path, netns });
    await podman.start('shop-web-1', { ...at(network.server), labels: labels('web'), command: SERVER });
    await sleep(200);
    await podman.start('caller', { ...at(network.client), command: client(ADDRESSES.v4.server, 3) });
    expect(await settled(agent, 6)).toEqual({
      'client: /caller (caller) -> shop/web (web)': 3,
      'server: /caller (caller) -> shop/web (web)': 3,
    });
    // One that is gone before anybody asks for it.
    await podman.start('brief', { ...at(network.client), command: client(ADDRESSES.v4.server, 2, 'true') });
    await podman.run('wait', 'brief');
    await podman.run('rm', 'brief');
    expect(await settled(agent, 10)).toEqual({
      'client: /caller (caller) -> shop/web (web)': 3,
      'server: /caller (caller) -> shop/web (web)': 3,
      'client: /brief (brief) -> shop/web (web)': 2,
      'server: /brief (brief) -> shop/web (web)': 2,
    });
    const status = await agent.status();
    expect(status.resolvers.containers).toBe(`3 containers of docker:${podman.socket}`);
  });
});

describe('containerd, by the interface that the kubelet uses', () => {
  test('names are right on both sides, those of the pods', PATIENTLY, async () => {
    await using containerd = await Containerd.start(await podman.saveImage());
    const agent = await agentOf(`cri:${containerd.socket}`);
    const { path: cgroup } = scope;
    const template = (app: string) => ({ app, 'pod-template-hash': '6c4d9f7b5' });
    const web = await containerd.startPod('web-v1-6c4d9f7b5-x2x9z', {
      cgroup,
      labels: template('web'),
      command: SERVER,
    });
    await sleep(200);
    await containerd.startPod('db-0', {
      cgroup,
      labels: { 'statefulset.kubernetes.io/pod-name': 'db-0' },
      command: client(web.ip, 4),
    });
    expect(await settled(agent, 8)).toEqual({
      'client: shop/db (db) -> shop/web (web-v1)': 4,
      'server: shop/db (db) -> shop/web (web-v1)': 4,
    });
  });
});
