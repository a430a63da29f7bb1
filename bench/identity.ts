/**
 * What knowing a cluster costs: `node --expose-gc --import tsx bench/identity.ts [--quick]`. An API server in another
 * process has pods, services, endpoint slices and replica sets as a real cluster has them; prints how long the resolver
 * takes to know them, the memory it keeps, and how many changes a second it takes.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { kubernetes } from '../src/identity/kubernetes.js';
import { type KubernetesObject, SmallKubernetes } from '../test/support/small-kubernetes.js';

const NODES = 100;

interface Size {
  readonly pods: number;
  readonly services: number;
}

/** A pod of a real cluster with the parts that differ replaced; five pods to a workload. */
function podOf(recorded: string, number: number, generation: number): KubernetesObject {
  const workload = Math.floor(number / 5);
  const pod = JSON.parse(recorded) as KubernetesObject & { spec: object; status: object };
  const labels = { app: `app-${workload}`, version: 'v1', 'pod-template-hash': '6c4d9f7b5' };
  const ip = `10.${128 + generation}.${number >> 8}.${number & 255}`;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      name: `app-${workload}-6c4d9f7b5-${number}`,
      namespace: `team-${workload % 50}`,
      uid: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
      labels,
      ownerReferences: [
        { kind: 'ReplicaSet', name: `app-${workload}-6c4d9f7b5`, uid: `rs-${workload}`, controller: true },
      ],
      // As large as the servers' own accounts of who wrote which field are.
      managedFields: [{ manager: 'kubelet', fieldsV1: { filler: 'f'.repeat(2500) } }],
    },
    spec: { ...pod.spec, nodeName: `node-${number % NODES}` },
    status: { ...pod.status, phase: 'Running', podIP: ip, podIPs: [{ ip }] },
  };
}

/** The other process: says its kubeconfig when it is ready, and changes all pods when it is told to. */
async function serve(): Promise<void> {
  const { pods, services } = JSON.parse(process.argv[2]!) as Size;
  const answers = JSON.parse(
    readFileSync(new URL('../test/fixtures/kubernetes/answers.json', import.meta.url), 'utf8'),
  ) as { path: string; body: { items: object[] } }[];
  const [first] = answers.find(({ path }) => path === '/api/v1/pods')!.body.items;
  const recorded = JSON.stringify(first);
  const server = await SmallKubernetes.start();
  const set = (generation: number) => {
    for (let i = 0; i < pods; i++) server.set('pods', podOf(recorded, i, generation));
  };
  set(0);
  for (let i = 0; i < services; i++) {
    const metadata = { name: `app-${i}`, namespace: `team-${i % 50}` };
    const spec = {
      selector: { app: `app-${i}` },
      clusterIP: `10.96.${i >> 8}.${i & 255}`,
      ports: [{ port: 80 }],
    };
    server.set('services', { metadata, spec });
    const endpoints = Array.from({ length: 5 }, (_, j) => ({
      addresses: [`10.128.${(5 * i + j) >> 8}.${(5 * i + j) & 255}`],
      targetRef: { kind: 'Pod', name: `app-${i}-6c4d9f7b5-${5 * i + j}` },
    }));
    const labels = { 'kubernetes.io/service-name': `app-${i}` };
    server.set('endpointslices', { metadata: { ...metadata, labels }, endpoints });
  }
  for (let i = 0; i < pods / 5; i++) {
    const ownerReferences = [{ kind: 'Deployment', name: `app-${i}`, uid: `d-${i}`, controller: true }];
    const metadata = {
      name: `app-${i}-6c4d9f7b5`,
      namespace: `team-${i % 50}`,
      uid: `rs-${i}`,
      ownerReferences,
    };
    server.set('replicasets', { metadata });
  }
  for (let i = 0; i < NODES; i++)
    server.set('nodes', {
      metadata: { name: `node-${i}` },
      status: { addresses: [{ type: 'InternalIP', address: `10.1.0.${i}` }] },
    });
  process.on('message', (generation: number) => set(generation));
  process.send!(server.kubeconfig());
}

/** Heap in use after everything that can go has gone, and what the process has of the machine's memory, bytes. */
function memory(): { heap: number; resident: number } {
  if (!globalThis.gc) throw new Error('run it with node --expose-gc');
  for (let i = 0; i < 3; i++) globalThis.gc();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: heapUsed + external, resident: rss };
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

async function measure(size: Size): Promise<void> {
  const child: ChildProcess = fork(import.meta.filename, [JSON.stringify(size)]);
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-bench-'));
  try {
    const [kubeconfig] = await once(child, 'message');
    const file = join(directory, 'kubeconfig');
    writeFileSync(file, kubeconfig as string);
    const resolver = kubernetes({
      cgroups: { pathOf: () => undefined },
      kubeconfig: file,
      node: 'node-0',
      tuning: { startWithin: 600_000 },
    });
    const named = (generation: number) => {
      const last = size.pods - 1;
      const address = `10.${128 + generation}.${last >> 8}.${last & 255}`;
      return resolver.resolve({ endpoint: { kind: 'address', address }, role: 'client', port: undefined });
    };
    const before = memory();
    const begun = performance.now();
    await resolver.start(new AbortController().signal);
    const seconds = (performance.now() - begun) / 1000;
    const peak = process.resourceUsage().maxRSS * 1024;
    const after = memory();
    if (!named(0)) throw new Error(`not all is known: ${resolver.status()}`);
    const what = `${size.pods.toLocaleString('en')} pods and ${size.services.toLocaleString('en')} services`;
    console.log(`${what}: known after ${seconds.toFixed(2)} s`);
    console.log(
      `kept: ${mebibytes(after.heap - before.heap)} of heap; resident ${mebibytes(before.resident)} before, ` +
        `${mebibytes(peak)} at most, ${mebibytes(after.resident)} after`,
    );
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const changing = performance.now();
    const { user, system } = process.cpuUsage();
    child.send(1);
    while (!named(1)) await sleep(1);
    const took = (performance.now() - changing) / 1000;
    const used = process.cpuUsage({ user, system });
    delay.disable();
    const cpu = (used.user + used.system) / size.pods;
    console.log(
      `changes: ${Math.round(size.pods / took).toLocaleString('en')} pods a second get another address, ` +
        `${cpu.toFixed(0)} us of CPU each; loop held ${(delay.max / 1e6).toFixed(0)} ms at most`,
    );
    await resolver[Symbol.asyncDispose]();
  } finally {
    child.kill();
    rmSync(directory, { recursive: true });
  }
}

if (process.send) await serve();
else
  await measure(
    process.argv.includes('--quick') ? { pods: 1000, services: 200 } : { pods: 10_000, services: 2000 },
  );
