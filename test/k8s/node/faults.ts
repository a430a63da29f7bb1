/**
 * What can be done to an API server, by whoever runs scripts on its node.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.js';

/** Runs a script of sh(1) on the node. @returns its standard output */
export type OnNode = (script: string) => string;

/** Makes it forget everything but the present: pages of lists that are under way. */
export function compact(onNode: OnNode): void {
  const post = (path: string, body: object) =>
    JSON.parse(onNode(`curl -sf http://127.0.0.1:2379/v3/kv/${path} -d '${JSON.stringify(body)}'`));
  const { revision } = post('range', { key: btoa('/') }).header;
  post('compaction', { revision });
}

/** Kills it, and waits until the next one answers, which knows nothing of the changes before. */
export async function restartApiServer(onNode: OnNode, api: Api): Promise<void> {
  onNode('pid=$(pidof kube-apiserver); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done');
  await answering(api);
}

export async function answering(api: Api): Promise<void> {
  while ((await api.get('/readyz').catch(() => undefined))?.status !== 200) await sleep(200);
}
