import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setInterval } from 'node:timers/promises';
import type { Api } from './api.js';
import type { Node } from './node.js';

export const DOMAIN = 'cluster.local';

interface Service {
  metadata: { name: string; namespace: string };
  spec: { clusterIP?: string };
}

/** Names services by their own addresses, for pods: dnsmasq, told of services every half second, until aborted. */
export async function serveNames(node: Node, api: Api, signal: AbortSignal): Promise<void> {
  const hosts = join(node.state, 'hosts');
  let written = '';
  writeFileSync(hosts, written);
  const bounds = [
    `--listen-address=${node.address}`,
    '--bind-interfaces',
    '--no-resolv',
    '--no-hosts',
    '--user=root',
  ];
  const answers = [`--addn-hosts=${hosts}`, `--local=/${DOMAIN}/`];
  node.start('dnsmasq', ['dnsmasq', '--keep-in-foreground', '--log-facility=-', ...bounds, ...answers]);
  try {
    for await (const _ of setInterval(500, undefined, { signal })) {
      const services = await api.list<Service>('/api/v1/services').catch(() => undefined);
      const text = services
        ?.filter(({ spec }) => spec.clusterIP && spec.clusterIP !== 'None')
        .map(line)
        .join('');
      if (text === undefined || text === written) continue;
      written = text;
      writeFileSync(hosts, text);
      node.run(['sh', '-c', 'kill -HUP $(cat /run/dnsmasq.pid)']);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const line = ({ metadata: { name, namespace }, spec }: Service) =>
  `${spec.clusterIP} ${name}.${namespace}.svc.${DOMAIN}\n`;
