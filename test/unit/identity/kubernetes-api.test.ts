import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { testKubernetesApi } from '../../contract/kubernetes-api.js';
import { SmallKubernetes } from '../../support/small-kubernetes.js';

const directory = mkdtempSync(join(tmpdir(), 'meshtap-kubernetes-'));
const file = join(directory, 'kubeconfig');
let small: SmallKubernetes;

beforeAll(async () => {
  small = await SmallKubernetes.start();
  writeFileSync(file, small.kubeconfig());
});
afterAll(async () => {
  await small[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

testKubernetesApi('the small API server', {
  kubeconfig: () => file,
  compact: async () => small.compact(),
  restart: async () => {
    await small.down();
    small.compact();
    await small.up();
  },
});
