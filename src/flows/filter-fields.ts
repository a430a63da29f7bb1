/**
 * How the values of each field of a `FlowFilter` are compiled.
 *
 * @module
 */
import type { FlowFilter } from './filter.js';
import {
  DIRECTIONS,
  type Flow,
  type FlowEnd,
  type L7,
  TCP_FLAGS,
  type TcpFlag,
  VERDICTS,
  type Workload,
} from './flow.js';
import { labelSelector } from './labels.js';
import {
  addresses,
  domainName,
  httpPath,
  type Matcher,
  namespaced,
  nodeName,
  protocol,
  regularExpression,
  statusCode,
} from './patterns.js';

/** Compiles a value, beside the others of its filter; undefined if it is none. */
type Field = (value: unknown, filter: FlowFilter) => Matcher<Flow> | undefined;

/** A field whose values are texts. */
const text =
  (compile: (value: string) => Matcher<Flow> | undefined): Field =>
  (value) =>
    typeof value === 'string' ? compile(value) : undefined;

/** A field whose values have fields of their own. */
const object =
  <T extends object>(compile: (value: T) => Matcher<Flow>): Field =>
  (value) =>
    typeof value === 'object' && value !== null ? compile(value as T) : undefined;

/** The same of either end. */
function ends(compile: (of: (flow: Flow) => FlowEnd) => Field, accepts: string) {
  return {
    source: { compile: compile(({ source }) => source), accepts },
    destination: { compile: compile(({ destination }) => destination), accepts },
  };
}

/** Compiles a pattern and looks at a part of each flow with it. */
const matching =
  <T>(pattern: (text: string) => Matcher<T> | undefined, part: (flow: Flow) => T): Field =>
  (value) => {
    const fits = typeof value === 'string' ? pattern(value) : undefined;
    return fits && ((flow) => fits(part(flow)));
  };

const ip = ends((of) => matching(addresses, (flow) => of(flow).address), 'an IP address or a prefix');
const pod = ends(
  (of) =>
    matching(namespaced, (flow) => {
      const { namespace, pod: name } = of(flow);
      return { namespace, name };
    }),
  'NAMESPACE/POD',
);
const service = ends(
  (of) => matching(namespaced, (flow) => of(flow).service ?? { namespace: '', name: '' }),
  'NAMESPACE/SERVICE',
);
const fqdn = ends(
  (of) =>
    text((pattern) => {
      const fits = domainName(pattern);
      return fits && ((flow) => of(flow).names.some(fits));
    }),
  'a domain name, in which * may stand',
);
const label = ends((of) => matching(labelSelector, (flow) => of(flow).labels), 'a label selector');
const port = ends(
  (of) =>
    text((digits) => {
      if (!/^\d{1,5}$/.test(digits) || Number(digits) > 65535) return undefined;
      return (flow) => hasPorts(flow) && of(flow).port === Number(digits);
    }),
  'a port, 0 to 65535',
);
const identity = ends(
  (of) => (id) => (typeof id === 'number' ? (flow) => of(flow).identity === id : undefined),
  'a number',
);
const cluster = ends(
  (of) => text((name) => (flow) => name !== '' && of(flow).cluster === name),
  'the name of a cluster',
);
const workload = ends(
  (of) =>
    object(
      ({ name = '', kind = '' }: Partial<Workload>) =>
        (flow) =>
          of(flow).workloads.some(
            (one) => (name === '' || one.name === name) && (kind === '' || one.kind === kind),
          ),
    ),
  'a name, a kind',
);

const hasPorts = ({ transport }: Flow) => transport === 'TCP' || transport === 'UDP' || transport === 'SCTP';

/** A field of HTTP. What asks for it and for another type of event can never fit. */
const http =
  (compile: Field): Field =>
  (value, filter) => {
    if (filter.event_type?.length && !filter.event_type.some(({ type = 0 }) => type === L7_EVENT))
      return undefined;
    return compile(value, filter);
  };
const L7_EVENT = 129;
const httpOf = (flow: Flow) => flow.l7?.http;
const oneOf =
  (names: readonly string[], part: (flow: Flow) => string): Field =>
  (value) => {
    const name = typeof value === 'number' ? names[value] : value;
    return names.includes(name as string) ? (flow) => part(flow) === name : undefined;
  };
const equal =
  (part: (flow: Flow) => string): Field =>
  (value) =>
    (typeof value === 'string' || typeof value === 'number') && value !== ''
      ? (flow) => part(flow) === String(value)
      : undefined;

const HTTP_ONLY = '; without an event_type other than 129';

/** How each field is compiled; undefined from `compile` means that the value is none. */
export const FIELDS: { readonly [name in keyof FlowFilter]-?: { compile: Field; accepts: string } } = {
  source_ip: ip.source,
  destination_ip: ip.destination,
  source_ip_xlated: {
    compile: matching(addresses, ({ sourceXlated }) => sourceXlated),
    accepts: 'an IP address or a prefix',
  },
  source_pod: pod.source,
  destination_pod: pod.destination,
  source_fqdn: fqdn.source,
  destination_fqdn: fqdn.destination,
  source_label: label.source,
  destination_label: label.destination,
  source_service: service.source,
  destination_service: service.destination,
  source_workload: workload.source,
  destination_workload: workload.destination,
  source_cluster_name: cluster.source,
  destination_cluster_name: cluster.destination,
  source_identity: identity.source,
  destination_identity: identity.destination,
  source_port: port.source,
  destination_port: port.destination,
  verdict: { compile: oneOf(VERDICTS, ({ verdict }) => verdict), accepts: `one of ${VERDICTS.join(', ')}` },
  drop_reason_desc: { compile: equal(({ dropReason }) => dropReason), accepts: 'the name of a reason' },
  event_type: {
    compile: (value) => {
      const {
        type = 0,
        match_sub_type: exact = false,
        sub_type: subType = 0,
      } = value as {
        type?: number;
        match_sub_type?: boolean;
        sub_type?: number;
      };
      return ({ event }) =>
        event !== undefined && (type === 0 || event.type === type) && (!exact || event.subType === subType);
    },
    accepts: 'a type',
  },
  http_status_code: {
    compile: http(
      text((pattern) => {
        const fits = statusCode(pattern);
        return fits && ((flow) => fits(httpOf(flow)?.code ?? 0));
      }),
    ),
    accepts: `a status such as 404 or 5+${HTTP_ONLY}`,
  },
  http_method: {
    compile: http(text((method) => (flow) => httpOf(flow)?.method.toLowerCase() === method.toLowerCase())),
    accepts: `a method${HTTP_ONLY}`,
  },
  http_path: { compile: http(onHttp(httpPath)), accepts: `a regular expression${HTTP_ONLY}` },
  http_url: { compile: http(onHttp(regularExpression)), accepts: `a regular expression${HTTP_ONLY}` },
  http_header: {
    compile: http(
      object(
        ({ key = '', value = '' }: { key?: string; value?: string }) =>
          (flow) =>
            httpOf(flow)?.headers.some((header) => header.key === key && header.value === value) ?? false,
      ),
    ),
    accepts: `a key and a value${HTTP_ONLY}`,
  },
  dns_query: {
    compile: text((pattern) => {
      const fits = regularExpression(pattern);
      return fits && (({ l7 }) => l7?.dns !== undefined && fits(l7.dns.query));
    }),
    accepts: 'a regular expression',
  },
  protocol: {
    compile: matching(protocol, (flow) => flow),
    accepts: 'icmp, icmpv4, icmpv6, tcp, udp, sctp, vrrp, igmp, dns, http or kafka',
  },
  reply: {
    compile: (wanted) =>
      typeof wanted === 'boolean'
        ? // Whoever drops a segment does not know what it answers.
          ({ reply, verdict }) => (reply ?? (verdict === 'DROPPED' ? false : undefined)) === wanted
        : undefined,
    accepts: 'true or false',
  },
  tcp_flags: {
    compile: object((flags: { [flag in TcpFlag]?: boolean }) => {
      const wanted = TCP_FLAGS.filter((flag) => flags[flag]);
      return ({ transport, tcpFlags }) =>
        transport === 'TCP' && wanted.length > 0 && wanted.every((flag) => tcpFlags.includes(flag));
    }),
    accepts: 'flags',
  },
  node_name: {
    compile: matching(nodeName, ({ node }) => node),
    accepts: 'NODE or CLUSTER/NODE, in which * may stand',
  },
  node_labels: {
    compile: matching(labelSelector, ({ nodeLabels }) => nodeLabels),
    accepts: 'a label selector',
  },
  ip_version: {
    compile: oneOf(['IP_NOT_USED', 'IPv4', 'IPv6'], ({ ipVersion }) =>
      ipVersion === 0 ? 'IP_NOT_USED' : `IPv${ipVersion}`,
    ),
    accepts: 'IP_NOT_USED, IPv4 or IPv6',
  },
  trace_id: { compile: equal(({ traceId }) => traceId), accepts: 'a trace id' },
  ip_trace_id: { compile: equal(({ ipTraceId }) => ipTraceId), accepts: 'a number' },
  uuid: { compile: equal(({ uuid }) => uuid), accepts: 'an id' },
  traffic_direction: {
    compile: oneOf(DIRECTIONS, ({ direction }) => direction),
    accepts: `one of ${DIRECTIONS.join(', ')}`,
  },
  interface: {
    compile: object(
      ({ name = '', index = 0 }: { index?: number; name?: string }) =>
        (flow) =>
          flow.interface !== undefined &&
          (name === '' || flow.interface.name === name) &&
          (index === 0 || flow.interface.index === index),
    ),
    accepts: 'a name, an index',
  },
  encrypted: {
    compile: (wanted) => (typeof wanted === 'boolean' ? ({ encrypted }) => encrypted === wanted : undefined),
    accepts: 'true or false',
  },
};

/** Of flows that are no HTTP nothing fits. */
function onHttp(pattern: (text: string) => Matcher<string> | undefined): Field {
  return text((given) => {
    const fits = pattern(given);
    return fits && (({ l7 }: { l7: L7 | undefined }) => l7?.http !== undefined && fits(l7.http.url));
  });
}
