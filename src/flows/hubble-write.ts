/**
 * Flows as Hubble writes them: `GetFlowsResponse` of its `observer.proto` as JSON, in the names of the `.proto`
 * (`snake_case`; `IP`, `Type`, `Summary` and `ipVersion` are spelled so there). What has its default is left out.
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
  type Transport,
  VERDICTS,
} from './flow.js';
import { given, type Json, objectAt, part, timestamp, unless } from './json.js';

/** One `GetFlowsResponse`. Fields with their default are left out. */
export function toHubble(event: FlowEvent): Json {
  const { time, node } = event;
  const what =
    'flow' in event
      ? { flow: writeFlow(event.flow) }
      : 'lost' in event
        ? { lost_events: writeLost(event.lost) }
        : { node_status: writeNodes(event.nodes) };
  return given({ ...what, node_name: node, time: timestamp(time) });
}

function writeFlow(flow: Flow): Json {
  const { source, destination, transport, event, l7, rest } = flow;
  const [restSource, restDestination, restL4] = [rest.source, rest.destination, rest.l4].map(objectAt);
  const all = given({
    ...rest,
    time: timestamp(flow.time),
    uuid: flow.uuid,
    verdict: unless(flow.verdict, VERDICTS[0]),
    IP: part({
      source: source.address,
      source_xlated: flow.sourceXlated,
      destination: destination.address,
      ipVersion: flow.ipVersion === 0 ? undefined : `IPv${flow.ipVersion}`,
      encrypted: flow.encrypted,
    }),
    l4: transport && { [transport]: writeSegment(flow, transport, restL4!) },
    source: part({ ...writeEnd(source), ...restSource }),
    destination: part({ ...writeEnd(destination), ...restDestination }),
    Type: unless(flow.type, FLOW_TYPES[0]),
    node_name: flow.node,
    node_labels: flow.nodeLabels,
    source_names: source.names,
    destination_names: destination.names,
    l7: l7 && writeL7(l7),
    event_type: event && given({ type: event.type, sub_type: event.subType }),
    source_service: source.service && given({ ...source.service }),
    destination_service: destination.service && given({ ...destination.service }),
    traffic_direction: unless(flow.direction, DIRECTIONS[0]),
    drop_reason_desc: flow.dropReason,
    policy_match_type: flow.policyMatch,
    sock_xlate_point: flow.xlatePoint,
    trace_context: flow.traceId === '' ? undefined : { parent: { trace_id: flow.traceId } },
    ip_trace_id: part({ ...objectAt(rest.ip_trace_id), trace_id: flow.ipTraceId }),
    interface: flow.interface && given({ ...flow.interface }),
    Summary: flow.summary,
  });
  // A false that says something.
  return flow.reply === undefined ? all : { ...all, is_reply: flow.reply };
}

function writeSegment({ source, destination, tcpFlags }: Flow, transport: Transport, rest: Json): Json {
  return given({
    ...objectAt(rest[transport]),
    source_port: source.port,
    destination_port: destination.port,
    flags:
      tcpFlags.length === 0 ? undefined : Object.fromEntries(tcpFlags.map((flag) => [flag, true] as const)),
  });
}

const writeEnd = (end: FlowEnd): Json => ({
  identity: end.identity,
  cluster_name: end.cluster,
  namespace: end.namespace,
  labels: end.labels,
  pod_name: end.pod,
  workloads: end.workloads.map((workload) => given({ ...workload })),
});

function writeL7({ type, latency, http, dns, kafka }: L7): Json {
  return given({
    type: unless(type, L7_TYPES[0]),
    latency_ns: latency === 0 ? undefined : String(latency),
    http: http && given({ ...http, headers: http.headers.map((header) => given({ ...header })) }),
    dns:
      dns &&
      given({
        ...{ query: dns.query, ips: dns.ips, ttl: dns.ttl, cnames: dns.cnames, rcode: dns.rcode },
        ...{ observation_source: dns.source, qtypes: dns.qtypes, rrtypes: dns.rrtypes },
      }),
    kafka,
  });
}

const writeLost = ({ source, count, cpu, first, last }: Lost): Json => ({
  ...given({ source: unless(source, LOSSES[0]), num_events_lost: String(count) }),
  ...(cpu !== undefined && { cpu }),
  ...given({ first: first && timestamp(first), last: last && timestamp(last) }),
});

const writeNodes = ({ state, nodes, message }: NodeStatus): Json =>
  given({ state_change: unless(state, NODE_STATES[0]), node_names: nodes, message });
