import type { Flow } from './flow.js';

/** Namespaces of both ends of flows, each once, in order. */
export function namespacesOf(flows: readonly Flow[]): { cluster: string; namespace: string }[] {
  const found = new Map<string, { cluster: string; namespace: string }>();
  for (const { source, destination } of flows)
    for (const { cluster, namespace } of [source, destination])
      if (namespace !== '') found.set(`${cluster}/${namespace}`, { cluster, namespace });
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}
