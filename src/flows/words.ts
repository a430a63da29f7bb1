/**
 * What people call the parts of a flow, as `hubble observe` does.
 *
 * @module
 */
import type { Flow, FlowEnd } from './flow.js';

/** Numbers of who is no workload. */
export const RESERVED_IDENTITIES: readonly string[] = [
  ...['unknown', 'host', 'world', 'unmanaged', 'health', 'init', 'remote-node', 'kube-apiserver', 'ingress'],
  ...['world-ipv4', 'world-ipv6'],
];

/** Numbers of `event_type`. */
export const EVENTS = {
  drop: 1,
  capture: 3,
  trace: 4,
  'policy-verdict': 5,
  'trace-sock': 7,
  l7: 129,
} as const;

/** Where in the datapath a segment was seen, by number. */
export const TRACE_POINTS: readonly string[] = [
  ...['to-endpoint', 'to-proxy', 'to-host', 'to-stack', 'to-overlay', 'from-endpoint', 'from-proxy'],
  ...['from-host', 'from-stack', 'from-overlay', 'from-network', 'to-network', 'from-crypto', 'to-crypto'],
];

const POLICY_MATCHES = ['none', 'L3-Only', 'L3-L4', 'L4-Only', 'all', 'L3-Proto', 'Proto-Only'];
const XLATE_POINTS: Readonly<Record<string, string>> = {
  SOCK_XLATE_POINT_PRE_DIRECTION_FWD: 'pre-xlate-fwd',
  SOCK_XLATE_POINT_POST_DIRECTION_FWD: 'post-xlate-fwd',
  SOCK_XLATE_POINT_PRE_DIRECTION_REV: 'pre-xlate-rev',
  SOCK_XLATE_POINT_POST_DIRECTION_REV: 'post-xlate-rev',
};
const DROPS: Readonly<Record<string, string>> = {
  POLICY_DENY: 'Policy denied by denylist',
  AUTH_REQUIRED: 'Authentication required',
  DROP_RATE_LIMITED: 'Rate limited',
};

/** `Policy denied` */
function dropWords(reason: string): string {
  const words = reason.toLowerCase().replaceAll('_', ' ');
  return DROPS[reason] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** `http-request`, `to-endpoint`, `Policy denied`, `policy-verdict:L3-L4 INGRESS`, ... */
export function eventWords({ l7, event, dropReason, direction, policyMatch, xlatePoint }: Flow): string {
  if (l7) {
    const protocol = l7.http ? 'http' : l7.dns ? 'dns' : l7.kafka ? 'kafka' : 'unknown';
    const source = l7.dns?.source ? ` ${l7.dns.source}` : '';
    return `${protocol}-${l7.type.toLowerCase()}${source}`;
  }
  switch (event?.type) {
    case EVENTS.trace:
      return TRACE_POINTS[event.subType] ?? String(event.subType);
    case EVENTS.drop:
      return dropWords(dropReason);
    case EVENTS['policy-verdict']:
      return `policy-verdict:${POLICY_MATCHES[policyMatch] ?? policyMatch} ${direction}`;
    case EVENTS['trace-sock']:
      return XLATE_POINTS[xlatePoint] ?? 'unknown';
    default:
      return 'UNKNOWN';
  }
}

/** What became of it; of a policy's verdict, what the policy says. */
export function verdictWords({ verdict, event }: Flow): string {
  if (event?.type !== EVENTS['policy-verdict']) return verdict;
  if (verdict === 'FORWARDED' || verdict === 'REDIRECTED') return 'ALLOWED';
  if (verdict === 'DROPPED' || verdict === 'ERROR') return 'DENIED';
  return verdict === 'AUDIT' ? 'AUDITED' : verdict;
}

/** `(ID:24080)`, `(world)` */
export const identityWords = ({ identity }: FlowEnd): string =>
  `(${RESERVED_IDENTITIES[identity] ?? `ID:${identity}`})`;

/** Pod, or service, or names, or address; nothing if it has no address. */
export function hostWords({ address, namespace, pod, service, names }: FlowEnd, numeric: boolean): string {
  if (numeric || address === '') return address;
  if (pod !== '') return namespace === '' ? pod : `${namespace}/${pod}`;
  if (service?.name) return service.namespace === '' ? service.name : `${service.namespace}/${service.name}`;
  return names.length > 0 ? names.join(',') : address;
}

/** The line for people, with what concerns the packet before it. */
export const summaryWords = ({ summary, ipTraceId }: Flow): string =>
  `${ipTraceId === '' ? '' : `IP Trace ID: ${ipTraceId}; `}${summary}`;

/**
 * `HTTP/1.1 GET http://host/path`, `HTTP/1.1 200 3ms (GET http://host/path)`; behind the time why it is no success all the
 * same, which Hubble has no field for: `HTTP/2 200 3ms NOT_FOUND (POST /shop.Cart/Get)`, `HTTP/1.1 reset 3ms (GET /)`.
 */
export function httpSummary(l7: Flow['l7']): string {
  if (!l7?.http) return '';
  const { protocol, method, url, code } = l7.http;
  if (l7.type === 'REQUEST') return `${protocol} ${method} ${url}`;
  const said = (key: string) => l7.http!.headers.find((header) => header.key === key)?.value ?? '';
  const grpc = said('grpc-status');
  const failure = said(':failure');
  const why = [grpc === 'OK' || /^\d*$/.test(grpc) ? '' : grpc, code === 0 ? '' : failure].filter(Boolean);
  const status = code === 0 && failure !== '' ? failure : code;
  return [protocol, status, `${Math.floor(l7.latency / 1e6)}ms`, ...why, `(${method} ${url})`].join(' ');
}

/** Controls a terminal obeys, and marks that turn the direction of text: what others sent must not reach it. */
export const CONTROLS = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/** `\u009b` */
export const unicodeEscape = (control: string): string =>
  `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** As Hubble writes them: ESC is `^[`, a carriage return `\r`; of the others, their number. */
export function escaped(text: string): string {
  return text.replaceAll(CONTROLS, (control) => {
    if (control === '\x1b') return '^[';
    if (control === '\r') return String.raw`\r`;
    return control === '\n' ? String.raw`\n` : unicodeEscape(control);
  });
}
