import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';

/** How long what was found counts, milliseconds: looking takes as long as a hundred names. */
const FRESH = 1000;

let found: ReadonlySet<string> = new Set();
let askAgainAt = Number.NEGATIVE_INFINITY;

/** The addresses of this network namespace's interfaces, as `ipaddr.js` writes them. */
export function ownAddresses(): ReadonlySet<string> {
  if (performance.now() < askAgainAt) return found;
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  found = new Set(all.map(({ address }) => ipaddr.process(address.replace(/%.*/, '')).toString()));
  askAgainAt = performance.now() + FRESH;
  return found;
}
