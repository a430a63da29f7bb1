/**
 * Flows as Hubble writes them: `GetFlowsResponse` of its `observer.proto` as JSON. `hubble-write.ts` is the other way.
 *
 * Names are read in both spellings, enums as names and as numbers. What has no place in `Flow` is kept as it is.
 *
 * @module
 */
import {
  DIRECTIONS,
  FLOW_TYPES,
  type Flow,
  type FlowEnd,
  type FlowEvent,
  type L7,
  L7_TYPES,
  LOSSES,
  type Lost,
  NODE_STATES,
  type NodeStatus,
  TCP_FLAGS,
  TRANSPORTS,
  VERDICTS,
} from './flow.js';
import {
  booleanAt,
  enumAt,
  field,
  given,
  type Json,
  listAt,
  numberAt,
  objectAt,
  part,
  snakeCase,
  textAt,
  textsAt,
  timeAt,
} from './json.js';

/** Reads one `GetFlowsResponse`. Undefined if it is one of a kind that is not known. Throws `UnreadableFlow`. */
export function fromHubble(response: unknown): FlowEvent | undefined {
  const all = objectAt(response);
  const flow = field(all, 'flow');
  const base = { time: timeAt(field(all, 'time')) ?? 0n, node: textAt(field(all, 'node_name')) };
  if (flow !== undefined) {
    const read = readFlow(objectAt(flow));
    return { time: read.time, node: read.node || base.node, flow: read };
  }
  const lost = field(all, 'lost_events');
  if (lost !== undefined) return { ...base, lost: readLost(objectAt(lost)) };
  const nodes = field(all, 'node_status');
  if (nodes !== undefined) return { ...base, nodes: readNodes(objectAt(nodes)) };
  return undefined;
}

const READ = new Set([
  ...['time', 'verdict', 'IP', 'l4', 'source', 'destination', 'Type', 'node_name', 'source_names', 'l7'],
  ...['destination_names', 'event_type', 'source_service', 'destination_service', 'traffic_direction'],
  ...['drop_reason_desc', 'is_reply', 'interface', 'trace_context', 'uuid', 'node_labels', 'ip_trace_id'],
  ...['Summary', 'policy_match_type', 'sock_xlate_point'],
]);

function readFlow(flow: Json): Flow {
  const ip = objectAt(field(flow, 'IP'));
  const l4 = objectAt(field(flow, 'l4'));
  const transport = TRANSPORTS.find((name) => field(l4, name) !== undefined);
  const segment = objectAt(transport && field(l4, transport));
  const ports = transport === 'TCP' || transport === 'UDP' || transport === 'SCTP';
  const end = (side: 'source' | 'destination'): FlowEnd => {
    const endpoint = objectAt(field(flow, side));
    const service = field(flow, `${side}_service`);
    return {
      address: textAt(field(ip, side)),
      port: ports ? numberAt(field(segment, `${side}_port`)) : 0,
      identity: numberAt(field(endpoint, 'identity')),
      cluster: textAt(field(endpoint, 'cluster_name')),
      namespace: textAt(field(endpoint, 'namespace')),
      pod: textAt(field(endpoint, 'pod_name')),
      service: service === undefined ? undefined : named(objectAt(service)),
      workloads: listAt(field(endpoint, 'workloads')).map((workload) => ({
        name: textAt(field(objectAt(workload), 'name')),
        kind: textAt(field(objectAt(workload), 'kind')),
      })),
      labels: textsAt(field(endpoint, 'labels')),
      names: textsAt(field(flow, `${side}_names`)),
    };
  };
  const event = field(flow, 'event_type');
  const device = field(flow, 'interface');
  const version = enumAt(['IP_NOT_USED', 'IPv4', 'IPv6'], field(ip, 'ipVersion'));
  const ipTrace = objectAt(field(flow, 'ip_trace_id'));
  const flags = objectAt(field(segment, 'flags'));
  const rest = Object.entries(flow).filter(([name]) => !READ.has(name) && !READ.has(snakeCase(name)));
  const idOf = (side: 'source' | 'destination') =>
    part({ ID: numberAt(field(objectAt(field(flow, side)), 'ID')) });
  return {
    time: timeAt(field(flow, 'time')) ?? 0n,
    uuid: textAt(field(flow, 'uuid')),
    type: enumAt(FLOW_TYPES, field(flow, 'Type')),
    verdict: enumAt(VERDICTS, field(flow, 'verdict')),
    dropReason: dropReasonAt(flow),
    source: end('source'),
    destination: end('destination'),
    reply: booleanAt(field(flow, 'is_reply')),
    direction: enumAt(DIRECTIONS, field(flow, 'traffic_direction')),
    ipVersion: version === 'IPv4' ? 4 : version === 'IPv6' ? 6 : 0,
    encrypted: booleanAt(field(ip, 'encrypted')) ?? false,
    sourceXlated: textAt(field(ip, 'source_xlated')),
    transport,
    tcpFlags: TCP_FLAGS.filter((flag) => booleanAt(field(flags, flag)) === true),
    l7: readL7(field(flow, 'l7')),
    event:
      event === undefined
        ? undefined
        : {
            type: numberAt(field(objectAt(event), 'type')),
            subType: numberAt(field(objectAt(event), 'sub_type')),
          },
    policyMatch: numberAt(field(flow, 'policy_match_type')),
    xlatePoint: textAt(field(flow, 'sock_xlate_point')),
    node: textAt(field(flow, 'node_name')),
    nodeLabels: textsAt(field(flow, 'node_labels')),
    traceId: textAt(field(objectAt(field(objectAt(field(flow, 'trace_context')), 'parent')), 'trace_id')),
    ipTraceId: String(field(ipTrace, 'trace_id') ?? ''),
    interface:
      device === undefined
        ? undefined
        : {
            index: numberAt(field(objectAt(device), 'index')),
            name: textAt(field(objectAt(device), 'name')),
          },
    summary: textAt(field(flow, 'Summary')),
    // What has no place of its own within a part is kept with the part.
    rest: given({
      ...Object.fromEntries(rest),
      source: idOf('source'),
      destination: idOf('destination'),
      l4: transport?.startsWith('ICMP') ? { [transport]: segment } : undefined,
      ip_trace_id: part({ ip_option_type: numberAt(field(ipTrace, 'ip_option_type')) }),
    }),
  };
}

function readL7(value: unknown): L7 | undefined {
  if (value === undefined) return undefined;
  const l7 = objectAt(value);
  const http = field(l7, 'http');
  const dns = field(l7, 'dns');
  const kafka = field(l7, 'kafka');
  return {
    type: enumAt(L7_TYPES, field(l7, 'type')),
    latency: numberAt(field(l7, 'latency_ns')),
    http: http === undefined ? undefined : readHttp(objectAt(http)),
    dns: dns === undefined ? undefined : readDns(objectAt(dns)),
    kafka: kafka === undefined ? undefined : objectAt(kafka),
  };
}

const readHttp = (http: Json) => ({
  code: numberAt(field(http, 'code')),
  method: textAt(field(http, 'method')),
  url: textAt(field(http, 'url')),
  protocol: textAt(field(http, 'protocol')),
  headers: listAt(field(http, 'headers')).map((header) => ({
    key: textAt(field(objectAt(header), 'key')),
    value: textAt(field(objectAt(header), 'value')),
  })),
});

const readDns = (dns: Json) => ({
  query: textAt(field(dns, 'query')),
  ips: textsAt(field(dns, 'ips')),
  ttl: numberAt(field(dns, 'ttl')),
  cnames: textsAt(field(dns, 'cnames')),
  source: textAt(field(dns, 'observation_source')),
  rcode: numberAt(field(dns, 'rcode')),
  qtypes: textsAt(field(dns, 'qtypes')),
  rrtypes: textsAt(field(dns, 'rrtypes')),
});

const readLost = (lost: Json): Lost => ({
  source: enumAt(LOSSES, field(lost, 'source')),
  count: numberAt(field(lost, 'num_events_lost')),
  cpu: field(lost, 'cpu') === undefined ? undefined : numberAt(field(lost, 'cpu')),
  first: timeAt(field(lost, 'first')),
  last: timeAt(field(lost, 'last')),
});

const readNodes = (nodes: Json): NodeStatus => ({
  state: enumAt(NODE_STATES, field(nodes, 'state_change')),
  nodes: textsAt(field(nodes, 'node_names')),
  message: textAt(field(nodes, 'message')),
});

/** `drop_reason_desc`, or the number of old, as `DropReason` of flow.proto names it. */
function dropReasonAt(flow: Json): string {
  const reason = field(flow, 'drop_reason_desc') ?? field(flow, 'drop_reason');
  if (typeof reason === 'number') return DROP_REASONS[reason] ?? String(reason);
  return reason === 'DROP_REASON_UNKNOWN' ? '' : textAt(reason);
}

/** What is used of `DropReason`. */
const DROP_REASONS: Readonly<Record<number, string>> = {
  0: '',
  132: 'INVALID_SOURCE_IP',
  133: 'POLICY_DENIED',
  134: 'INVALID_PACKET_DROPPED',
  136: 'CT_MISSING_TCP_ACK_FLAG',
  139: 'UNSUPPORTED_L3_PROTOCOL',
  142: 'UNKNOWN_L4_PROTOCOL',
  150: 'UNKNOWN_L3_TARGET_ADDRESS',
  151: 'STALE_OR_UNROUTABLE_IP',
  157: 'IP_FRAGMENTATION_NOT_SUPPORTED',
  158: 'SERVICE_BACKEND_NOT_FOUND',
  164: 'LOCAL_HOST_IS_UNREACHABLE',
  171: 'INVALID_IDENTITY',
  181: 'POLICY_DENY',
  189: 'AUTH_REQUIRED',
  195: 'UNENCRYPTED_TRAFFIC',
  196: 'TTL_EXCEEDED',
  198: 'DROP_RATE_LIMITED',
  202: 'DROP_HOST_NOT_READY',
  203: 'DROP_EP_NOT_READY',
};

const named = (service: Json) => ({
  name: textAt(field(service, 'name')),
  namespace: textAt(field(service, 'namespace')),
});
