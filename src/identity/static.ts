import ipaddr from 'ipaddr.js';
import { MeshtapError } from '../errors.js';
import { FIRST_PREFIX_ID, type Identity, type Prefix, type Resolver } from './identity.js';

/** A name for an address or a prefix. */
export interface StaticEntry {
  /** One address; this or `cidr`. */
  address?: string;
  /** A prefix; the longest that holds an address names it. */
  cidr?: string;
  /** Only this server port; goes before an entry of the same prefix without a port. @default any */
  port?: number;
  service: string;
  /** @default '' */
  namespace?: string;
  /** @default the service */
  workload?: string;
  /** Whether another meshtap watches this end. @default false */
  watched?: boolean;
}

export interface StaticOptions {
  /** @default [] */
  entries?: readonly StaticEntry[];
  /** Prefixes whose addresses are each a peer of their own; all others are `world`. @default PRIVATE */
  addresses?: readonly string[];
}

/** Addresses of one's own network: RFC 1918, 6598, 4193, 3927, loopback and link-local. */
export const PRIVATE: readonly string[] = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '169.254.0.0/16',
  '127.0.0.0/8',
  '::1/128',
  'fc00::/7',
  'fe80::/10',
];

type Address = ipaddr.IPv4 | ipaddr.IPv6;

interface Network {
  readonly base: Address;
  readonly bits: number;
  readonly byPort: Map<number | undefined, Identity>;
}

/**
 * Names ends by a table of addresses and prefixes, and says which addresses are worth a series of their own.
 * Throws CONFIG_INVALID for an entry that is neither an address nor a prefix.
 */
export function staticTable({ entries = [], addresses = PRIVATE }: StaticOptions = {}): Resolver {
  const networks = networksOf(entries);
  const byId = new Map([...networks.values()].map((network, index) => [FIRST_PREFIX_ID + index, network]));

  /** The longest prefix that has an answer for this port. */
  const find = (address: Address, bits: number, port: number | undefined) => {
    let best: { bits: number; identity: Identity } | undefined;
    for (const network of networks.values()) {
      if (network.bits > bits || (best && best.bits > network.bits) || !holds(network, address)) continue;
      const identity = network.byPort.get(port) ?? network.byPort.get(undefined);
      if (identity) best = { bits: network.bits, identity };
    }
    return best?.identity;
  };

  return {
    name: 'static',
    async start() {},
    resolve({ endpoint, port }) {
      if (endpoint.kind === 'prefix') {
        const network = byId.get(endpoint.id);
        return network && find(network.base, network.bits, port);
      }
      if (endpoint.kind !== 'address' || !ipaddr.isValid(endpoint.address)) return undefined;
      const address = ipaddr.process(endpoint.address);
      return find(address, bitsOf(address), port);
    },
    prefixes() {
      const ids = new Map<string, Prefix['id']>();
      for (const world of ['0.0.0.0/0', '::/0']) ids.set(world, 'world');
      for (const prefix of addresses) ids.set(keyOf(...parse(prefix)), 'address');
      for (const [id, { base, bits }] of byId) {
        // Folded addresses are told apart by nothing but the port: only where some entry answers for every port.
        ids.set(keyOf(base, bits), find(base, bits, undefined) ? id : 'address');
      }
      return [...ids].map(([cidr, id]) => ({ cidr, id }));
    },
    status: () => `${entries.length} entries`,
    async [Symbol.asyncDispose]() {},
  };
}

function networksOf(entries: readonly StaticEntry[]): Map<string, Network> {
  const networks = new Map<string, Network>();
  for (const { address, cidr, port, service, namespace = '', workload, watched = false } of entries) {
    const [base, bits] = parse(cidr ?? address ?? '');
    const key = keyOf(base, bits);
    const network = networks.get(key) ?? { base, bits, byPort: new Map() };
    networks.set(key, network);
    // The first entry wins, as it would if all were asked in order.
    if (!network.byPort.has(port))
      network.byPort.set(port, { service, namespace, workload: workload || service, labels: {}, watched });
  }
  return networks;
}

function parse(prefix: string): [Address, number] {
  if (ipaddr.isValid(prefix)) {
    const address = ipaddr.process(prefix);
    return [address, bitsOf(address)];
  }
  if (!ipaddr.isValidCIDR(prefix))
    throw new MeshtapError('CONFIG_INVALID', `${JSON.stringify(prefix)} is neither an address nor a prefix`);
  const [base, bits] = ipaddr.parseCIDR(prefix);
  return [base, bits];
}

const bitsOf = (address: Address) => (address.kind() === 'ipv4' ? 32 : 128);

function holds({ base, bits }: Network, address: Address): boolean {
  return base.kind() === address.kind() && address.match(base as never, bits);
}

/** One spelling for each prefix: the host's bits are zero. */
function keyOf(base: Address, bits: number): string {
  const bytes = base
    .toByteArray()
    .map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))));
  return `${ipaddr.fromByteArray(bytes).toString()}/${bits}`;
}
