import ipaddr from 'ipaddr.js';
import { NAMESPACE, type Party, type PeerSelector, type Requirement, type Selector } from './policy.js';

/** Whether a selector selects an endpoint. Like a label selector of Kubernetes; nothing but endpoints is selected. */
export function selects(selector: Selector, party: Party): boolean {
  if (party.kind !== 'endpoint') return false;
  const { labels, namespace } = party;
  const value = (key: string) =>
    key === NAMESPACE ? namespace : Object.hasOwn(labels, key) ? labels[key] : undefined;
  return selector.every((requirement) => holds(requirement, value(requirement.key)));
}

function holds({ operator, values }: Requirement, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** Whether a party is one of those that a rule names. */
export function isPeer(selector: PeerSelector, party: Party): boolean {
  if ('endpoints' in selector) return selects(selector.endpoints, party);
  if ('cidr' in selector) {
    if (party.kind !== 'world') return false;
    const within = (cidr: string) => contains(cidr, party.address);
    return within(selector.cidr) && !selector.except.some(within);
  }
  const { entity } = selector;
  if (entity === 'all') return true;
  return entity === 'cluster' ? party.kind !== 'world' : entity === party.kind;
}

/** An IPv4-mapped address is the IPv4 address. */
function contains(cidr: string, address: string): boolean {
  const parsed = ipaddr.process(address);
  const [base, bits] = ipaddr.parseCIDR(cidr);
  return parsed.kind() === base.kind() && parsed.match(base, bits);
}
