import ipaddr from 'ipaddr.js';

/** Prefixes that are told apart at most. */
const LIMIT = 1024;

/**
 * Public addresses are one peer to the kernel unless it is told which are not. These are the ones of a cluster.
 */
export class PublicPrefixes {
  readonly #prefixes = new Set<string>();
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  values(): Iterable<string> {
    return this.#prefixes;
  }

  /** An address, or a prefix. `bits`: as how wide a prefix to take an address. @default itself alone */
  add(text: string, bits: { readonly ipv4?: number; readonly ipv6?: number } = {}): void {
    const isPrefix = text.includes('/');
    if (isPrefix ? !ipaddr.isValidCIDR(text) : !ipaddr.isValid(text)) return;
    const [address, length] = isPrefix
      ? ipaddr.parseCIDR(text)
      : ([ipaddr.process(text), undefined] as const);
    if (address.range() !== 'unicast') return;
    const width = length ?? bits[address.kind()] ?? (address.kind() === 'ipv4' ? 32 : 128);
    const network = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
    const prefix = `${network.networkAddressFromCIDR(`${address}/${width}`)}/${width}`;
    if (this.#prefixes.has(prefix) || this.#prefixes.size >= LIMIT) return;
    this.#prefixes.add(prefix);
    this.#changed();
  }
}
