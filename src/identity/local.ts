import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import ipaddr from 'ipaddr.js';
import { cgroupIdentity } from './cgroup.js';
import { cgroupMount, isInside, placeOf } from './cgroup-mount.js';
import type { Identity, Resolver } from './identity.js';
import { cgroupOfProcess, type Listener, type Namespace, readListeners } from './listeners.js';
import { ownAddresses } from './own-addresses.js';

export interface LocalOptions {
  /** Directory that meshtap is attached to: what listens there is watched. @default nothing counts as watched */
  watched?: string;
  /** A better name for a cgroup, by its path, if somebody has one. @default the name that the path has */
  named?: (path: string) => Identity | undefined;
}

/** How old the table of listeners may be when somebody asks, milliseconds: for one it has, for one it has not. */
const FRESH = 30_000;
const FRESH_UNKNOWN = 5_000;

/**
 * Names a server on this machine by the process that listens. Answers only what is certain, and for two kinds of ends:
 *
 * - An address that no watched cgroup owns: one of this namespace by the listeners of this namespace; a loopback
 *   address, which every namespace has, if all listeners at its port are in one cgroup.
 * - A socket in the cgroup of process 1, which opens sockets on behalf of others (socket activation): they keep its
 *   cgroup, but the service that took over the listener is who answers.
 *
 * The table is read in the background: a server that began to listen since has no name yet.
 */
export function local({ watched, named = () => undefined }: LocalOptions = {}): Resolver {
  const identityOf = (path: string, isWatched: boolean): Identity => ({
    ...(named(path) ?? cgroupIdentity(path, isWatched)),
    watched: isWatched,
  });
  let namespaces: readonly Namespace[] = [];
  let watchedPath: string | undefined;
  let init: bigint | undefined;
  let readAt = 0;
  let cost = 0;
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
    readAt = performance.now();
    cost = readAt - begun;
    reading = undefined;
  };

  /** Listeners at a port, with those in other namespaces or without; the cgroup that has all of them. */
  const find = (port: number, everywhere: boolean, fits: (listener: Listener) => boolean) => {
    const cgroups = namespaces
      .filter(({ own }) => own || everywhere)
      .flatMap(({ listeners }) => listeners)
      .filter((listener) => listener.port === port && fits(listener))
      .map(({ cgroup }) => cgroup);
    const [only] = cgroups;
    const found = new Set(cgroups).size === 1 ? only : undefined;
    const age = performance.now() - readAt;
    // Reading costs at most a fiftieth of the time.
    if (!closed && age > Math.max(found === undefined ? FRESH_UNKNOWN : FRESH, 50 * cost)) reading ??= read();
    return found;
  };

  return {
    name: 'local',
    async start() {
      if (watched !== undefined) watchedPath = placeOf(watched).path;
      init = idOfInit();
      await read();
    },
    resolve({ endpoint, port }): Identity | undefined {
      if (port === undefined) return undefined;
      if (endpoint.kind === 'cgroup') {
        const cgroup = endpoint.cgroup === init ? find(port, false, () => true) : undefined;
        return cgroup === undefined ? undefined : identityOf(cgroup, true);
      }
      if (endpoint.kind !== 'address' || !ipaddr.isValid(endpoint.address)) return undefined;
      const address = ipaddr.process(endpoint.address);
      const loopback = address.range() === 'loopback';
      if (!loopback && !ownAddresses().has(address.toString())) return undefined;
      const cgroup = find(port, loopback, (listener) => accepts(listener.address, address));
      if (cgroup === undefined) return undefined;
      return identityOf(cgroup, watchedPath !== undefined && isInside(cgroup, watchedPath));
    },
    status: () => `${namespaces.reduce((sum, { listeners }) => sum + listeners.length, 0)} listening sockets`,
    async [Symbol.asyncDispose]() {
      closed = true;
      await reading;
    },
  };
}

/** Cgroup id of process 1: `init.scope` under systemd. */
function idOfInit(): bigint | undefined {
  const path = cgroupOfProcess(readFileSync('/proc/1/cgroup', 'utf8'));
  return statSync(join(cgroupMount(), path ?? ''), { bigint: true, throwIfNoEntry: false })?.ino;
}

function accepts(listening: string, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  const own = ipaddr.process(listening);
  // A socket on :: takes IPv4 too, unless it was told not to, which /proc does not show.
  if (own.toString() === '::') return true;
  return own.toString() === '0.0.0.0' ? address.kind() === 'ipv4' : own.toString() === address.toString();
}
