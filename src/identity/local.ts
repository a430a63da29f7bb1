import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';
import { cgroupIdentity } from './cgroup.js';
import { isInside, placeOf } from './cgroup-mount.js';
import type { Identity, Resolver } from './identity.js';
import { type Listener, type Namespace, readListeners } from './listeners.js';

export interface LocalOptions {
  /** Directory that meshtap is attached to: what listens there is watched. @default nothing counts as watched */
  watched?: string;
}

/** How old the table of listeners may be when somebody asks, milliseconds; longer if reading it takes long. */
const FRESH = 30_000;

/**
 * Names a server on this machine that no watched cgroup owns by the process that listens at its address. Answers only
 * what is certain: an address of this namespace by the listeners of this namespace; a loopback address, which every
 * namespace has, if all listeners at its port are in one cgroup.
 *
 * The table is read in the background: a server that began to listen since has no name yet.
 */
export function local({ watched }: LocalOptions = {}): Resolver {
  let namespaces: readonly Namespace[] = [];
  let watchedPath: string | undefined;
  let readAgainAt = 0;
  let reading: Promise<void> | undefined;
  let closed = false;

  const read = async () => {
    const begun = performance.now();
    try {
      namespaces = await readListeners();
    } catch {
      // /proc may be hidden: then nobody is known here.
      namespaces = [];
    }
    const ended = performance.now();
    readAgainAt = ended + Math.max(FRESH, 50 * (ended - begun));
    reading = undefined;
  };

  return {
    name: 'local',
    async start() {
      if (watched !== undefined) watchedPath = placeOf(watched).path;
      await read();
    },
    resolve({ endpoint, port }): Identity | undefined {
      if (endpoint.kind !== 'address' || port === undefined || !ipaddr.isValid(endpoint.address))
        return undefined;
      const address = ipaddr.process(endpoint.address);
      const loopback = address.range() === 'loopback';
      if (!loopback && !ownAddresses().has(address.toString())) return undefined;
      if (!closed && performance.now() > readAgainAt) reading ??= read();
      const candidates = namespaces
        .filter(({ own }) => own || loopback)
        .flatMap(({ listeners }) => listeners);
      const cgroups = candidates
        .filter((one) => one.port === port && accepts(one.address, address))
        .map(cgroupOf);
      const [only] = cgroups;
      if (only === undefined || new Set(cgroups).size > 1) return undefined;
      return cgroupIdentity(only, watchedPath !== undefined && isInside(only, watchedPath));
    },
    status: () => `${namespaces.reduce((sum, { listeners }) => sum + listeners.length, 0)} listening sockets`,
    async [Symbol.asyncDispose]() {
      closed = true;
      await reading;
    },
  };
}

const cgroupOf = ({ cgroup }: Listener) => cgroup;

function accepts(listening: string, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  const own = ipaddr.process(listening);
  // A socket on :: takes IPv4 too, unless it was told not to, which /proc does not show.
  if (own.toString() === '::') return true;
  return own.toString() === '0.0.0.0' ? address.kind() === 'ipv4' : own.toString() === address.toString();
}

function ownAddresses(): Set<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(all.map(({ address }) => ipaddr.process(address.replace(/%.*/, '')).toString()));
}
