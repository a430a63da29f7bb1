/**
 * `npm run test:k8s`: builds Kubernetes if that was never done, starts a node of it, runs test/k8s/*.test.ts, and takes
 * everything down. `npm run test:k8s -- FILE...` runs some of them, `npm run test:k8s -- --exec COMMAND...` anything else.
 *
 * @module
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { saveAgent, saveBookinfo } from './images/images.js';
import { Cluster } from './node/cluster.js';
import { binary } from './node/components.js';

const root = join(import.meta.dirname, '../..');
/** The name that deploy/kubernetes.yaml has. */
const AGENT_IMAGE = 'registry.example.com/meshtap:0.1.0';

const args = process.argv.slice(2);
const [command, ...rest] =
  args[0] === '--exec'
    ? args.slice(1)
    : [join(root, 'node_modules/.bin/vitest'), 'run', '--project', 'k8s', ...args];

const ended = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(name, () => ended.abort(new Error(name)));

execFileSync(join(import.meta.dirname, 'build.sh'), { stdio: 'inherit' });
const work = join(tmpdir(), `meshtap-k8s-images-${process.pid}`); // see removeStale() in node/node.ts
mkdirSync(work, { recursive: true });
try {
  const archives = [join(work, 'bookinfo.tar'), join(work, 'agent.tar')] as const;
  console.error('k8s: making images');
  saveBookinfo(archives[0]);
  saveAgent(archives[1], AGENT_IMAGE);
  await using cluster = await Cluster.start(archives, ended.signal);
  const { facts } = cluster;
  const file = join(work, 'cluster.json');
  writeFileSync(file, JSON.stringify(facts));
  process.exitCode = await run({
    MESHTAP_K8S: file,
    KUBECONFIG: facts.kubeconfig,
    PATH: [join(binary(''), '.'), process.env.PATH].join(delimiter),
  });
} catch (error) {
  if (!ended.signal.aborted) throw error;
  process.exitCode = 130;
} finally {
  rmSync(work, { recursive: true });
}

/** Until it ends, or we are told to. */
async function run(env: Record<string, string>): Promise<number> {
  const child = spawn(command!, rest, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  const stop = () => child.kill();
  ended.signal.addEventListener('abort', stop);
  if (ended.signal.aborted) stop();
  const [code] = await once(child, 'exit');
  return code ?? 1;
}
