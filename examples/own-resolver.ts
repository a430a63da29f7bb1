/**
 * A resolver of your own: names for addresses from `/etc/hosts`, asked before the ones that meshtap has.
 *
 *     npx tsx examples/own-resolver.ts /sys/fs/cgroup/system.slice 9464
 */
import { readFile } from 'node:fs/promises';
import { createAgent } from 'meshtap';
import { prometheus } from 'meshtap/exporters';
import { cgroup, type Identity, type Resolver, UNKNOWN } from 'meshtap/identity';
import { ebpf } from 'meshtap/receivers';

function hosts(file = '/etc/hosts'): Resolver {
  const names = new Map<string, Identity>();
  return {
    name: 'hosts',
    async start() {
      for (const line of (await readFile(file, 'utf8')).split('\n')) {
        const [address, service] = line.replace(/#.*/, '').trim().split(/\s+/);
        if (address && service && !names.has(address))
          names.set(address, { ...UNKNOWN, service, workload: service });
      }
    },
    // Never waits: what it needs was read at the start.
    resolve: ({ endpoint }) => (endpoint.kind === 'address' ? names.get(endpoint.address) : undefined),
    // Each of these addresses is counted on its own, also where it is a public one.
    prefixes: () => [...names.keys()].map((address) => ({ cidr: address, id: 'address' })),
    status: () => `${names.size} names`,
    async [Symbol.asyncDispose]() {},
  };
}

const [, , directory = '/sys/fs/cgroup', port = '9464'] = process.argv;
const agent = await createAgent({
  receivers: [ebpf({ cgroup: directory })],
  resolvers: [hosts(), cgroup()],
  exporters: [prometheus({ port: Number(port) })],
});
process.once('SIGINT', () => agent[Symbol.asyncDispose]());
