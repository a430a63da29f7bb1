import { afterAll, beforeAll } from 'vitest';
import { testKubernetesApi } from '../contract/kubernetes-api.js';
import { Api } from './node/api.js';
import { apiServer, etcd, writeAccess } from './node/components.js';
import { answering, compact, type OnNode, restartApiServer } from './node/faults.js';
import { Node } from './node/node.js';

/** Alone, so that nobody schedules, collects or counts what the suite makes up. */
let node: Node;
let api: Api;
const onNode: OnNode = (script) => node.run(['sh', '-c', script]);

beforeAll(async () => {
  node = await Node.start();
  node.start('etcd', etcd(node));
  api = new Api(writeAccess(node));
  node.start('kube-apiserver', [...apiServer(node), '--disable-admission-plugins=ServiceAccount']);
  await answering(api);
}, 180_000);

afterAll(() => node[Symbol.asyncDispose]());

testKubernetesApi('a real API server', {
  kubeconfig: async () => `${node.state}/kubeconfig`,
  compact: async () => compact(onNode),
  restart: () => restartApiServer(onNode, api),
});
