/**
 * Records what a real API server says, for tests that can not have one:
 *
 *     npm run test:k8s -- --exec npx tsx test/k8s/record.ts test/fixtures/kubernetes
 *
 * `answers.json` holds requests with the status and body of their answers; `watch-*.jsonl` are the bodies of watches, one
 * event a line, as they came while bookinfo was made, rolled out anew and deleted.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Api } from './node/api.js';
import { binary } from './node/components.js';
import { compact, restartApiServer } from './node/faults.js';
import { facts, onNode } from './support.js';

const [, , directory = 'test/fixtures/kubernetes'] = process.argv;
mkdirSync(directory, { recursive: true });
const api = new Api(facts);
const answers: { path: string; accept?: string; status: number; body: unknown }[] = [];

const COLLECTIONS = {
  pods: '/api/v1/pods',
  services: '/api/v1/services',
  endpoints: '/api/v1/endpoints',
  nodes: '/api/v1/nodes',
  endpointslices: '/apis/discovery.k8s.io/v1beta1/endpointslices',
  replicasets: '/apis/apps/v1/replicasets',
  jobs: '/apis/batch/v1/jobs',
};
const LEAN = 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io';

async function record(path: string, accept?: string): Promise<Record<string, never>> {
  const { status, body } = await api.get(path, accept === undefined ? {} : { accept });
  answers.push({ path, ...(accept !== undefined && { accept }), status, body: parse(body) });
  return JSON.parse(body);
}

/** What nobody reads, and what tells of the machine where it was recorded. */
const LEFT_OUT = ['managedFields', 'nodeInfo', 'images', 'capacity', 'allocatable'];
const parse = (text: string) =>
  JSON.parse(text, (key, value) => (LEFT_OUT.includes(key) ? undefined : value));

function kubectl(...args: string[]): string {
  return execFileSync(binary('kubectl'), [`--kubeconfig=${facts.kubeconfig}`, ...args], { encoding: 'utf8' });
}

const manifest = join(import.meta.dirname, 'manifests/bookinfo.yaml');
const namespace = ['-n', 'bookinfo'];
const seconds = 60;

// Watches from the beginning, which the server ends by itself.
kubectl('create', 'namespace', 'bookinfo');
const watches = Object.entries(COLLECTIONS).map(async ([name, path]) => {
  const query = `?watch=1&allowWatchBookmarks=true&timeoutSeconds=${seconds}&resourceVersion=`;
  const { resourceVersion } = (await record(path)).metadata!;
  const { body } = await api.get(`${path}${query}${resourceVersion}`, { timeout: 2 * seconds * 1000 });
  const lines = body.split('\n').filter(Boolean);
  const events = lines.map((line) => `${JSON.stringify(parse(line))}\n`);
  writeFileSync(join(directory, `watch-${name}.jsonl`), events.join(''));
});
await sleep(1000);
kubectl(...namespace, 'apply', '-f', manifest);
kubectl(...namespace, 'wait', '--for=condition=Available', 'deployment', '--all', '--timeout=120s');
kubectl(...namespace, 'create', 'job', 'once', '--image=localhost/tools:1', '--', 'true');
kubectl(
  ...namespace,
  'expose',
  'deployment',
  'details-v1',
  '--name=headless',
  '--cluster-ip=None',
  '--port=9080',
);
kubectl(...namespace, 'create', 'service', 'externalname', 'elsewhere', '--external-name=api.example.com');
kubectl(...namespace, 'create', 'service', 'nodeport', 'open', '--tcp=9080:9080');
kubectl(...namespace, 'set', 'env', 'deployment/details-v1', 'GENERATION=2');
kubectl(...namespace, 'rollout', 'status', 'deployment/details-v1', '--timeout=120s');
await Promise.all(watches);

answers.length = 0;
for (const path of Object.values(COLLECTIONS)) await record(path);
await record('/api/v1/pods?fieldSelector=spec.nodeName%3Dmeshtap-node&limit=2');
await record(COLLECTIONS.replicasets, LEAN);
await record('/apis/discovery.k8s.io');
await record('/apis/discovery.k8s.io/v1/endpointslices'); // 404
await record('/api/v1/pods?limit=nonsense'); // 400

// A list in pieces whose rest is compacted away before it is asked for.
const { continue: token, resourceVersion: old } = (await record('/api/v1/pods?limit=1'))
  .metadata as never as {
  continue: string;
  resourceVersion: string;
};
kubectl(...namespace, 'annotate', 'deployment', 'details-v1', 'recorded=1');
compact(onNode);
await record(`/api/v1/pods?limit=1&continue=${token}`); // 410

// A watch from a moment that a server which was restarted does not remember.
await restartApiServer(onNode, api);
const late = await api.get(`/api/v1/pods?watch=1&timeoutSeconds=5&resourceVersion=${old}`);
answers.push({
  path: '/api/v1/pods?watch=1&resourceVersion=OLD',
  status: late.status,
  body: parse(late.body),
});

// Nobody, and somebody without a role.
const wrong = new Api({ ...facts, token: 'wrong' });
const { status, body } = await wrong.get('/api/v1/pods');
answers.push({ path: '/api/v1/pods', status, body: parse(body) });
const secret = kubectl(...namespace, 'get', 'serviceaccount', 'default', '-o', 'jsonpath={.secrets[0].name}');
const account = kubectl(...namespace, 'get', 'secret', secret, '-o', 'jsonpath={.data.token}');
const forbidden = await new Api({ ...facts, token: atob(account) }).get('/api/v1/pods');
answers.push({ path: '/api/v1/pods', status: forbidden.status, body: parse(forbidden.body) });

writeFileSync(join(directory, 'answers.json'), `${JSON.stringify(answers, null, 1)}\n`);
kubectl('delete', 'namespace', 'bookinfo', '--wait=false');
