import {
  DIRECTIONS,
  type Direction,
  type HttpRule,
  NAMESPACE,
  type PeerSelector,
  type Policy,
  type PortRange,
  type PortRule,
  placeOf,
  type Requirement,
  type Rule,
  type Selector,
} from './policy.js';

/** What policies would do, in words; one paragraph for each. */
export function explainPolicies(policies: readonly Policy[]): string {
  return policies.map(explainPolicy).join('\n\n');
}

function explainPolicy(policy: Policy): string {
  return [
    `${policy.name}, in namespace ${policy.namespace} (${placeOf(policy.position)})`,
    `  applies to ${endpoints(policy.subject)}`,
    ...DIRECTIONS.flatMap((direction) => explainDirection(direction, policy[direction])),
  ].join('\n');
}

function explainDirection(direction: Direction, rules: readonly Rule[]): string[] {
  if (rules.length === 0) return [`  ${direction}: not restricted by this policy`];
  const allowed = rules.flatMap((rule) => explainRule(direction, rule));
  if (allowed.length === 0) return [`  ${direction}: denied by default, and nothing is allowed`];
  return [`  ${direction}: denied by default, allowed are`, ...allowed.map((line) => `    ${line}`)];
}

function explainRule(direction: Direction, { peers, ports }: Rule): string[] {
  if (!peers && !ports) return [];
  const ends = peers ? peers.map(peer) : ['everybody'];
  const side = direction === 'ingress' ? 'from' : 'to';
  return ends.flatMap((end) =>
    (ports ?? [undefined]).flatMap((rule) => explainPorts(`${side} ${end}`, rule)),
  );
}

function explainPorts(who: string, rule: PortRule | undefined): string[] {
  if (!rule) return [`${who}: all TCP ports`];
  const ports = `TCP port ${rule.ports.map(range).join(', ')}`;
  if (!rule.http) return [`${who}: ${ports}`];
  return [`${who}: ${ports}, only HTTP requests with`, ...rule.http.map((one) => `  ${request(one)}`)];
}

const range = ({ first, last }: PortRange) => (first === last ? String(first) : `${first}-${last}`);

function request({ method, path, host }: HttpRule): string {
  const parts = Object.entries({ method, path, host }).flatMap(([field, pattern]) =>
    pattern ? `${field} ${pattern.text}` : [],
  );
  return parts.length > 0 ? parts.join(' and ') : 'anything';
}

function peer(selector: PeerSelector): string {
  if ('endpoints' in selector) return endpoints(selector.endpoints);
  if ('entity' in selector) return ENTITY[selector.entity];
  const { cidr, except } = selector;
  const but = except.length > 0 ? ` but ${except.join(', ')}` : '';
  return `addresses outside of the cluster in ${cidr}${but}`;
}

const ENTITY = {
  all: 'everybody',
  world: 'everybody outside of the cluster',
  cluster: 'everybody in the cluster',
  host: 'this machine',
  'remote-node': 'other machines of the cluster',
} as const;

function endpoints(selector: Selector): string {
  const labels = selector.filter(({ key }) => key !== NAMESPACE).map(requirement);
  const namespaces = selector.filter(({ key }) => key === NAMESPACE).map(namespace);
  return [labels.length > 0 ? `endpoints with ${labels.join(' and ')}` : 'all endpoints', ...namespaces].join(
    ' ',
  );
}

function requirement({ key, operator, values }: Requirement): string {
  switch (operator) {
    case 'In':
      return `${key}=${values.join('|')}`;
    case 'NotIn':
      return `${key} not ${values.join('|')}`;
    case 'Exists':
      return `any ${key}`;
    case 'DoesNotExist':
      return `no ${key}`;
  }
}

function namespace({ operator, values }: Requirement): string {
  if (operator === 'In') return `in namespace ${values.join(' or ')}`;
  if (operator === 'NotIn') return `in any namespace but ${values.join(' and ')}`;
  return operator === 'Exists' ? 'in any namespace' : 'in no namespace';
}
