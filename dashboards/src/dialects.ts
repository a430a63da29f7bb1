/**
 * What each dialect calls the numbers that dashboards and rules are made of. Names and labels are those of
 * `src/metrics/dialects`; a test holds every query to what those really produce.
 *
 * @module
 */

/** A metric, and matchers that always go with it. */
export interface Source {
  readonly metric: string;
  readonly where?: readonly string[];
  /** Other matchers, of series that count too and that `where` does not find. */
  readonly also?: readonly string[];
}

export type Side = 'server' | 'client';

/** Requests as one side reports them. */
export interface Requests {
  readonly count: Source;
  /** Of `count`, what got a 5xx or no answer. */
  readonly failed: Source;
  /** Buckets of the duration. */
  readonly duration: Source;
  /** Buckets of the time to first byte, where the dialect has it. */
  readonly firstByte?: Source;
}

/** Connections as one side reports them. */
export interface Connections {
  readonly opened: Source;
  readonly closed?: Source;
  /** Of `closed`, those that did not end in order, by `error_type`. */
  readonly broken?: Source;
  /** Connects that failed, by `error_type`. */
  readonly failures?: Source;
  readonly retransmits?: Source;
  readonly toServer?: Source;
  readonly toClient?: Source;
  readonly connect?: Source;
  readonly rtt?: Source;
}

/** gRPC calls as one side reports them. */
export interface Calls {
  readonly count: Source;
  readonly failed: Source;
  readonly duration: Source;
}

export interface Dialect {
  readonly name: 'otel' | 'hubble' | 'istio';
  /** The label that holds the server's name; the other ends' labels are the same everywhere. */
  readonly destination: string;
  readonly status: string;
  readonly method?: string;
  readonly route?: string;
  /** Unit of durations, as Grafana calls it. */
  readonly unit: 's' | 'ms';
  /** In the order of preference: a side counts only where those before it are silent. */
  readonly requests: Readonly<Partial<Record<Side, Requests>>>;
  readonly connections: Readonly<Partial<Record<Side, Connections>>>;
  readonly calls?: Readonly<Record<Side, Calls>>;
  /** Has DNS and policy metrics of this family. */
  readonly dns?: 'otel' | 'hubble';
  readonly policy?: boolean;
}

/** gRPC's counterparts of 4xx: what the caller did wrong, or the server is right to say. */
const CALLERS_OWN = [
  ...[
    'CANCELLED',
    'INVALID_ARGUMENT',
    'NOT_FOUND',
    'ALREADY_EXISTS',
    'PERMISSION_DENIED',
    'RESOURCE_EXHAUSTED',
  ],
  ...['FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNAUTHENTICATED'],
].join('|');

/** 404 and its likes are errors to an OpenTelemetry client, but no failure of the server that answers so. */
const OTEL_FAILED = ['error_type!=""', `error_type!~"${CALLERS_OWN}"`, 'http_response_status_code!~"4.."'];

/** UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, by number. */
const GRPC_FAILED = '2|4|12|13|14|15';

function otelRequests(side: Side): Requests {
  const count = `http_${side}_request_duration_seconds_count`;
  return {
    count: { metric: count },
    failed: { metric: count, where: OTEL_FAILED },
    duration: { metric: `http_${side}_request_duration_seconds_bucket` },
    firstByte: { metric: `meshtap_http_${side}_time_to_first_byte_seconds_bucket` },
  };
}

function otelConnections(side: Side): Connections {
  const tcp = `meshtap_tcp_${side}`;
  const io = (direction: string): Source => ({
    metric: `${tcp}_io_bytes_total`,
    where: [`network_io_direction="${direction}"`],
  });
  const [toServer, toClient] = side === 'server' ? ['receive', 'transmit'] : ['transmit', 'receive'];
  return {
    opened: { metric: `${tcp}_connections_opened_total` },
    closed: { metric: `${tcp}_connections_closed_total` },
    broken: { metric: `${tcp}_connections_closed_total`, where: ['error_type!=""'] },
    retransmits: { metric: `${tcp}_retransmits_total` },
    toServer: io(toServer!),
    toClient: io(toClient!),
    rtt: { metric: `${tcp}_rtt_seconds_bucket` },
    ...(side === 'client' && {
      failures: { metric: `${tcp}_connect_failures_total` },
      connect: { metric: `${tcp}_connect_duration_seconds_bucket` },
    }),
  };
}

function otelCalls(side: Side): Calls {
  const count = `rpc_${side}_call_duration_seconds_count`;
  return {
    count: { metric: count },
    failed: { metric: count, where: ['error_type!=""', `error_type!~"${CALLERS_OWN}"`] },
    duration: { metric: `rpc_${side}_call_duration_seconds_bucket` },
  };
}

function istioRequests(reporter: string): Requests {
  const where = [`reporter="${reporter}"`];
  return {
    count: { metric: 'istio_requests_total', where },
    failed: {
      metric: 'istio_requests_total',
      where: [...where, 'response_code=~"5..|0"'],
      also: [...where, 'response_code="200"', `grpc_response_status=~"${GRPC_FAILED}"`],
    },
    duration: { metric: 'istio_request_duration_milliseconds_bucket', where },
  };
}

function istioConnections(reporter: string): Connections {
  const where = [`reporter="${reporter}"`];
  return {
    opened: { metric: 'istio_tcp_connections_opened_total', where },
    closed: { metric: 'istio_tcp_connections_closed_total', where },
    toServer: { metric: 'istio_tcp_received_bytes_total', where },
    toClient: { metric: 'istio_tcp_sent_bytes_total', where },
  };
}

export const DIALECTS: readonly Dialect[] = [
  {
    name: 'otel',
    destination: 'destination_service',
    status: 'http_response_status_code',
    method: 'http_request_method',
    route: 'http_route',
    unit: 's',
    requests: { server: otelRequests('server'), client: otelRequests('client') },
    connections: { server: otelConnections('server'), client: otelConnections('client') },
    calls: { server: otelCalls('server'), client: otelCalls('client') },
    dns: 'otel',
  },
  {
    // Each request is reported once, so one side is all there is.
    name: 'hubble',
    destination: 'destination_service',
    status: 'status',
    method: 'method',
    unit: 's',
    requests: {
      server: {
        count: { metric: 'hubble_http_requests_total' },
        failed: {
          metric: 'hubble_http_requests_total',
          where: ['status=~"5..|"', 'otel_metric_overflow=""'],
        },
        duration: { metric: 'hubble_http_request_duration_seconds_bucket' },
      },
    },
    connections: {
      server: { opened: { metric: 'hubble_flows_processed_total', where: ['type="L3_L4"'] } },
    },
    dns: 'hubble',
    policy: true,
  },
  {
    name: 'istio',
    destination: 'destination_service_name',
    status: 'response_code',
    unit: 'ms',
    requests: { server: istioRequests('destination'), client: istioRequests('source') },
    connections: { server: istioConnections('destination'), client: istioConnections('source') },
  },
];
