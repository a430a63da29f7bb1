/**
 * A flow: one thing that happened between two ends, such as a request, an answer, a segment that was dropped. All
 * formats (Hubble's JSON and protobuf, the lines that people read) come from this type and go to it.
 *
 * The words for verdicts, events and the like are Hubble's, because that is what people filter by. What a source does
 * not say is the empty string, 0, an empty list or `undefined`.
 *
 * @module
 */

// All of these are numbered by their places, as in Hubble's flow.proto and relay.proto.

export const VERDICTS = [
  ...(['VERDICT_UNKNOWN', 'FORWARDED', 'DROPPED', 'ERROR', 'AUDIT', 'REDIRECTED', 'TRACED'] as const),
  'TRANSLATED',
] as const;
export const FLOW_TYPES = ['UNKNOWN_TYPE', 'L3_L4', 'L7', 'SOCK'] as const;
export const DIRECTIONS = ['TRAFFIC_DIRECTION_UNKNOWN', 'INGRESS', 'EGRESS'] as const;
export const L7_TYPES = ['UNKNOWN_L7_TYPE', 'REQUEST', 'RESPONSE', 'SAMPLE'] as const;
export const TRANSPORTS = ['TCP', 'UDP', 'ICMPv4', 'ICMPv6', 'SCTP', 'VRRP', 'IGMP'] as const;
export const TCP_FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'] as const;

export type Verdict = (typeof VERDICTS)[number];
export type FlowType = (typeof FLOW_TYPES)[number];
/** From whose side: INGRESS is what the destination of the connection saw, EGRESS what its source saw. */
export type Direction = (typeof DIRECTIONS)[number];
export type L7Type = (typeof L7_TYPES)[number];
export type Transport = (typeof TRANSPORTS)[number];
export type TcpFlag = (typeof TCP_FLAGS)[number];

export interface NamedObject {
  readonly name: string;
  readonly namespace: string;
}

export interface Workload {
  readonly name: string;
  /** `Deployment`, `StatefulSet`, ... */
  readonly kind: string;
}

/** Who is at one end. */
export interface FlowEnd {
  readonly address: string;
  /** Of TCP, UDP or SCTP; 0 if there is none. */
  readonly port: number;
  /** Hubble's number for who it is: 1 host, 2 world, 256 and more for workloads; 0 unknown. */
  readonly identity: number;
  readonly cluster: string;
  readonly namespace: string;
  readonly pod: string;
  readonly service: NamedObject | undefined;
  readonly workloads: readonly Workload[];
  /** `k8s:app=shop`, `reserved:world`. */
  readonly labels: readonly string[];
  /** DNS names that its address was looked up by. */
  readonly names: readonly string[];
}

export interface Http {
  /** Status; 0 in a request. */
  readonly code: number;
  readonly method: string;
  readonly url: string;
  /** `HTTP/1.1` */
  readonly protocol: string;
  readonly headers: readonly { readonly key: string; readonly value: string }[];
}

export interface Dns {
  readonly query: string;
  readonly ips: readonly string[];
  readonly ttl: number;
  readonly cnames: readonly string[];
  readonly source: string;
  readonly rcode: number;
  readonly qtypes: readonly string[];
  readonly rrtypes: readonly string[];
}

/** What was said, above the transport. */
export interface L7 {
  readonly type: L7Type;
  /** Nanoseconds from request to answer; 0 if nobody measured it. */
  readonly latency: number;
  readonly http: Http | undefined;
  readonly dns: Dns | undefined;
  /** Deprecated in Hubble; not looked into. */
  readonly kafka: Readonly<Record<string, unknown>> | undefined;
}

export interface Flow {
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  readonly uuid: string;
  readonly type: FlowType;
  readonly verdict: Verdict;
  /** `POLICY_DENIED` and the like. */
  readonly dropReason: string;
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  /** Whether it goes from the server to the client, and so source is the server. */
  readonly reply: boolean | undefined;
  readonly direction: Direction;
  /** 0 where no IP was looked at. */
  readonly ipVersion: 0 | 4 | 6;
  readonly encrypted: boolean;
  /** The source's address after translation. */
  readonly sourceXlated: string;
  readonly transport: Transport | undefined;
  readonly tcpFlags: readonly TcpFlag[];
  readonly l7: L7 | undefined;
  /** Which kind of event of the datapath it was: 4 trace, 129 L7, ... */
  readonly event: { readonly type: number; readonly subType: number } | undefined;
  /** Of a policy's verdict: what of the flow the policy looked at, Hubble's number; 0 none. */
  readonly policyMatch: number;
  /** Of a translation in a socket: `SOCK_XLATE_POINT_PRE_DIRECTION_FWD`, ... */
  readonly xlatePoint: string;
  readonly node: string;
  readonly nodeLabels: readonly string[];
  /** 32 hexadecimal digits, from `traceparent`. */
  readonly traceId: string;
  /** Decimal digits. */
  readonly ipTraceId: string;
  /** The network device. */
  readonly interface: { readonly index: number; readonly name: string } | undefined;
  /** One line for people. */
  readonly summary: string;
  /** What else the source said, in Hubble's names. Nothing here looks into it; it is passed on. */
  readonly rest: Readonly<Record<string, unknown>>;
}

/** Where flows get lost. */
export const LOSSES = [
  'UNKNOWN_LOST_EVENT_SOURCE',
  'PERF_EVENT_RING_BUFFER',
  'OBSERVER_EVENTS_QUEUE',
  'HUBBLE_RING_BUFFER',
] as const;

/** Flows that were there, and that nobody will be shown. */
export interface Lost {
  readonly source: (typeof LOSSES)[number];
  readonly count: number;
  readonly cpu: number | undefined;
  /** Nanoseconds since the epoch. */
  readonly first: bigint | undefined;
  readonly last: bigint | undefined;
}

export const NODE_STATES = [
  'UNKNOWN_NODE_STATE',
  'NODE_CONNECTED',
  'NODE_UNAVAILABLE',
  'NODE_GONE',
  'NODE_ERROR',
] as const;

/** A change among the nodes that a relay asks. */
export interface NodeStatus {
  readonly state: (typeof NODE_STATES)[number];
  readonly nodes: readonly string[];
  readonly message: string;
}

interface Happened {
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  readonly node: string;
}

/** What a stream of flows consists of. */
export type FlowEvent =
  | (Happened & { readonly flow: Flow })
  | (Happened & { readonly lost: Lost })
  | (Happened & { readonly nodes: NodeStatus });

export const NOBODY: FlowEnd = {
  address: '',
  port: 0,
  identity: 0,
  cluster: '',
  namespace: '',
  pod: '',
  service: undefined,
  workloads: [],
  labels: [],
  names: [],
};

/** Both ends in the order of the connection, whichever way the flow goes. */
export function connectionEnds({ source, destination, reply, l7 }: Flow): {
  client: FlowEnd;
  server: FlowEnd;
} {
  const back = reply ?? l7?.type === 'RESPONSE';
  return back ? { client: destination, server: source } : { client: source, server: destination };
}

/** The path of a URL, decoded, without its query; undefined if it is no URL. */
export function pathOf(url: string): string | undefined {
  // RFC 3986, appendix B. Not WHATWG's parser, which writes paths anew: people filter by what was on the wire.
  const [, path = ''] = /^(?:[a-z][a-z0-9+.-]*:)?(?:\/\/[^/?#]*)?([^?#]*)/is.exec(url) ?? [];
  if (/%(?![0-9a-f]{2})|[\p{Cc} ]/iu.test(path)) return undefined;
  return path.includes('%') ? Buffer.from(path.replaceAll(/%../g, byteOf), 'latin1').toString() : path;
}

const byteOf = (escaped: string) => String.fromCharCode(Number.parseInt(escaped.slice(1), 16));

const MILLION = 1_000_000n;

/** Nanoseconds of a time in milliseconds. */
export const nanoseconds = (milliseconds: number): bigint => BigInt(Math.round(milliseconds)) * MILLION;
/** Whole milliseconds of a time in nanoseconds. */
export const milliseconds = (nanoseconds: bigint): number => Number(nanoseconds / MILLION);
