/**
 * Counts and names together: what is counted while names change. The counts are the test's own, the API server is the
 * small one, all between is real.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { createAgent } from '../../../src/agent.js';
import { kubernetes } from '../../../src/identity/kubernetes.js';
import type { Endpoint, HttpCounts, Pair } from '../../../src/receivers/counts.js';
import type { Receiver } from '../../../src/receivers/receiver.js';
import { temporaryDirectory } from '../../support/bpf.js';
import { counts, histogram, http, pair } from '../../support/counts.js';
import { SmallKubernetes } from '../../support/small-kubernetes.js';

const UID = '0f2c9d5e-6d1a-4b0e-8f33-3b1f0c9a7d42';
const web: Endpoint = { kind: 'cgroup', cgroup: 7n };
const X: Endpoint = { kind: 'address', address: '10.0.0.9' };

const pod = (name: string, { ip, uid, node = 'there' }: { ip?: string; uid?: string; node?: string }) => ({
  metadata: { name, namespace: 'shop', ...(uid && { uid }) },
  spec: { nodeName: node, containers: [] },
  status: ip ? { phase: 'Running', podIP: ip } : { phase: 'Pending' },
});

async function stage({ wait = 30_000 } = {}) {
  const server = await SmallKubernetes.start();
  onTestFinished(() => server[Symbol.asyncDispose]());
  const kubeconfig = join(temporaryDirectory(), 'kubeconfig');
  writeFileSync(kubeconfig, server.kubeconfig());
  const tally = new Map<Pair, HttpCounts>();
  const receiver: Receiver = {
    name: 'tally',
    start: async () => ({
      collect: async () => counts({ http: [...tally.values()] }),
      status: () => ({ state: 'running', detail: {} }),
      [Symbol.asyncDispose]: async () => {},
    }),
  };
  const cgroups = {
    pathOf: (id: bigint) => (id === 7n ? `/kubepods/pod${UID}/${'c'.repeat(64)}` : undefined),
  };
  const agent = await createAgent({
    receivers: [receiver],
    resolvers: [
      kubernetes({ cgroups, kubeconfig, node: 'here', tuning: { backoff: { first: 10, longest: 50 } } }),
    ],
    waitForNames: wait,
  });
  onTestFinished(() => agent[Symbol.asyncDispose]());
  const pairs = new Map<Endpoint, Pair>();
  return {
    server,
    /** So many more requests came from that end to `web`. */
    count(from: Endpoint, more: number) {
      const key = pairs.get(from) ?? pair('server', web, from);
      pairs.set(from, key);
      const total = (tally.get(key)?.duration.count ?? 0) + more;
      tally.set(key, http(key, { duration: histogram(Array(total).fill(0.01)) }));
    },
    /** Requests by source, as a scrape shows them. */
    async shown(): Promise<Record<string, number>> {
      const families = await agent.collect();
      const family = families.find(({ name }) => name === 'http.server.request.duration');
      const points = family?.type === 'histogram' ? family.points : [];
      return Object.fromEntries(points.map(({ attributes, count }) => [attributes['source.service'], count]));
    },
    async gauge(name: string): Promise<number | undefined> {
      const family = (await agent.collect()).find((each) => each.name === name);
      return family?.type === 'gauge' ? family.points[0]?.value : undefined;
    },
  };
}

async function until(check: () => Promise<unknown>): Promise<void> {
  for (const end = Date.now() + 50_000; !(await check()); await sleep(10))
    if (Date.now() > end) throw new Error('never');
}

test('the first request of a pod that nobody told of yet waits, and has its name then', async () => {
  const { server, count, shown, gauge } = await stage();
  count(X, 5);
  expect(await shown()).toEqual({});
  // Both its own pod and the caller.
  expect(await gauge('meshtap.identity.held')).toBe(2);
  server.set('pods', pod('web', { uid: UID, ip: '10.0.0.1', node: 'here' }));
  await until(async () => (await gauge('meshtap.identity.held')) === 1);
  expect(await shown()).toEqual({});
  count(X, 2);
  server.set('pods', pod('caller', { ip: '10.0.0.9' }));
  await until(async () => Object.keys(await shown()).length > 0);
  expect(await shown()).toEqual({ caller: 7 });
  expect(await gauge('meshtap.identity.held')).toBe(0);
});

test('what nobody tells of is shown all the same, after a time', async () => {
  const { server, count, shown } = await stage({ wait: 300 });
  server.set('pods', pod('web', { uid: UID, ip: '10.0.0.1', node: 'here' }));
  count(X, 5);
  await until(async () => (await shown()).unknown === 5);
  server.set('pods', pod('late', { ip: '10.0.0.9' }));
  await until(async () => (await shown()).late === 0);
  count(X, 1);
  expect(await shown()).toEqual({ unknown: 5, late: 1 });
});

test('who gets the address of another gets none of its numbers, whenever they are looked at', async () => {
  for (const look of [true, false]) {
    const { server, count, shown } = await stage();
    const looked = async () => void (look && (await shown()));
    server.set('pods', pod('web', { uid: UID, ip: '10.0.0.1', node: 'here' }));
    server.set('pods', pod('first', { ip: '10.0.0.9' }));
    count(X, 1);
    await until(async () => (await shown()).first === 1);
    count(X, 10);
    await looked();
    // All of it is told between two looks.
    server.remove('pods', 'shop', 'first');
    server.set('pods', pod('second', {}));
    await sleep(200);
    count(X, 7);
    await looked();
    server.set('pods', pod('second', { ip: '10.0.0.9' }));
    await until(async () => (await shown()).second);
    count(X, 1);
    expect(await shown()).toEqual({ first: 11, second: 8 });
  }
});

test('a name that is gone leaves no series of nothing behind', async () => {
  const { server, count, shown } = await stage({ wait: 50 });
  server.set('pods', pod('web', { uid: UID, ip: '10.0.0.1', node: 'here' }));
  server.set('pods', pod('first', { ip: '10.0.0.9' }));
  count(X, 3);
  await until(async () => (await shown()).first === 3);
  server.remove('pods', 'shop', 'first');
  await sleep(300);
  await shown();
  await sleep(300);
  expect(await shown()).toEqual({ first: 3 });
});
