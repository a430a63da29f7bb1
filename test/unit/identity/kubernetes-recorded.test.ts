/** What a real API server told while bookinfo was made, rolled out anew and deleted, told again by the small one. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { kubernetes } from '../../../src/identity/kubernetes.js';
import { temporaryDirectory } from '../../support/bpf.js';
import { type KubernetesObject, SmallKubernetes } from '../../support/small-kubernetes.js';

interface Event {
  readonly collection: string;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: KubernetesObject & { status?: { podIP?: string; phase?: string } };
}

const COLLECTIONS = ['pods', 'services', 'endpointslices', 'nodes', 'replicasets', 'jobs'];
const fixture = (name: string) =>
  readFileSync(new URL(`../../fixtures/kubernetes/${name}`, import.meta.url), 'utf8');

/** Of all collections, in the order in which they happened. */
const events = COLLECTIONS.flatMap((collection): Event[] =>
  fixture(`watch-${collection}.jsonl`)
    .split('\n')
    .filter(Boolean)
    .map((line) => ({ collection, ...JSON.parse(line) })),
)
  .filter(({ type }) => type !== 'BOOKMARK')
  .sort((a, b) => Number(a.object.metadata.resourceVersion) - Number(b.object.metadata.resourceVersion));

async function until(check: () => unknown): Promise<void> {
  for (const end = Date.now() + 50_000; !check(); await sleep(2))
    if (Date.now() > end) throw new Error('never');
}

test.each(['meshtap-node', 'another-node'])('names of bookinfo, as %s knows them', async (node) => {
  const server = await SmallKubernetes.start();
  onTestFinished(() => server[Symbol.asyncDispose]());
  const kubeconfig = join(temporaryDirectory(), 'kubeconfig');
  writeFileSync(kubeconfig, server.kubeconfig());
  const settled: Record<string, string> = {};
  const who = (address: string) =>
    resolver.resolve({ endpoint: { kind: 'address', address }, role: 'client', port: undefined });
  const addresses = [...new Set(events.flatMap(({ object }) => object.status?.podIP ?? []))];
  const resolver = kubernetes({
    cgroups: { pathOf: () => undefined },
    kubeconfig,
    node,
    tuning: { settleEvery: 0, backoff: { first: 5, longest: 50 } },
  });
  onTestFinished(() => resolver[Symbol.asyncDispose]());
  resolver.attach?.({
    log: pino({ level: 'silent' }),
    settle: async () => {
      for (const address of addresses) {
        const identity = who(address);
        if (identity) settled[address] = `${identity.namespace}/${identity.service} ${identity.workload}`;
      }
    },
    prefixesChanged: () => {},
  });
  await resolver.start(new AbortController().signal);

  for (const { collection, type, object } of events) {
    const before = resolver.revision?.();
    const { namespace = '', name } = object.metadata;
    if (type === 'DELETED') server.remove(collection, namespace, name);
    else server.set(collection, object);
    const address = object.status?.podIP;
    // As slowly as it happened: each before the next.
    if (collection === 'pods' && address && object.status?.phase === 'Running' && type === 'MODIFIED')
      await Promise.race([until(() => resolver.revision?.() !== before), sleep(200)]);
  }
  // Each address had one owner; those whose owner has ended were settled for it, the others are still its.
  const named = (address: string) => {
    const now = who(address);
    return now ? `${now.namespace}/${now.service} ${now.workload}` : settled[address];
  };
  await until(() => addresses.every(named));
  const names = addresses.map(named);
  expect(new Set(names)).toEqual(
    new Set([
      'bookinfo/details details-v1',
      'bookinfo/once once',
      'bookinfo/productpage productpage-v1',
      'bookinfo/ratings ratings-v1',
      'bookinfo/reviews reviews-v1',
    ]),
  );
});
