/**
 * Public addresses by the DNS names for which services were told them, as seen on the wire (`receivers/counts.ts`,
 * endpoints of the kind `name`). Who is dialled is known only to whoever asked, so every service has names of its own.
 *
 * @module
 */
import { BoundedMap } from './bounded-map.js';
import type { Identity, Resolver } from './identity.js';

export interface DnsOptions {
  /** Patterns, `*.s3.amazonaws.com`: all names below are one. @default [] */
  fold?: readonly string[];
  /** More names than these below one domain are one as well: `*.example.com`. @default 20 */
  siblings?: number;
}

/** How many names below one domain are told apart, if nobody says otherwise. */
export const SIBLINGS = 20;
/** Domains that are kept account of at most. */
const DOMAINS = 4096;

/** A public address that goes by several names at once: which of them is meant, only the client knows. */
export const AMBIGUOUS: Identity = {
  service: 'ambiguous',
  namespace: '',
  workload: '',
  labels: {},
  watched: false,
};

const called = (service: string): Identity => ({
  ...{ service, namespace: '', workload: '', labels: {}, watched: false },
});

/** What a name is below; undefined for a top-level domain, whose names have nothing in common. */
function domainOf(name: string): string | undefined {
  const domain = name.slice(name.indexOf('.') + 1);
  return domain.includes('.') && domain !== name ? domain : undefined;
}

/** Names public addresses by what services asked DNS for. */
export function dns({ fold = [], siblings = SIBLINGS }: DnsOptions = {}): Resolver {
  const patterns = fold.map((pattern) => pattern.toLowerCase().replace(/^\*/, ''));
  // The longest first, so that the closest one wins.
  patterns.sort((a, b) => b.length - a.length);
  const domains = new BoundedMap<string, Set<string>>(DOMAINS);
  let folded = 0;

  const shown = (name: string): string => {
    const pattern = patterns.find((suffix) => name.endsWith(suffix));
    if (pattern !== undefined) return `*${pattern}`;
    const domain = domainOf(name);
    if (domain === undefined) return name;
    const names = domains.get(domain) ?? new Set();
    domains.set(domain, names);
    if (names.size <= siblings && !names.has(name)) {
      names.add(name);
      if (names.size > siblings) folded++;
    }
    return names.size > siblings ? `*.${domain}` : name;
  };

  return {
    name: 'dns',
    async start() {},
    resolve({ endpoint }) {
      if (endpoint.kind !== 'name') return undefined;
      const { names, more } = endpoint;
      const [service, ...others] = new Set(names.map(shown));
      if (others.length === 0 && (more === 'none' || (more === 'siblings' && service!.startsWith('*.'))))
        return called(service!);
      // Whichever is meant, it is below this.
      const [domain, ...otherDomains] = new Set(names.map(domainOf));
      return domain && otherDomains.length === 0 && more !== 'others' ? called(`*.${domain}`) : AMBIGUOUS;
    },
    revision: () => folded,
    status: () => `${domains.size} domains, ${folded} with more than ${siblings} names`,
    async [Symbol.asyncDispose]() {},
  };
}
