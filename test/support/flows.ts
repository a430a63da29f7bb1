/** Flows made up for tests. */
import { type Flow, type FlowEnd, type FlowEvent, NOBODY } from '../../src/flows/flow.js';

/** A workload of the namespace `shop`. */
export const workload = (name: string, more: Partial<FlowEnd> = {}): FlowEnd => ({
  ...NOBODY,
  namespace: 'shop',
  pod: `${name}-5f7b9-x2x4z`,
  workloads: [{ name, kind: 'Deployment' }],
  labels: [`k8s:app=${name}`],
  identity: 20_000 + name.length,
  ...more,
});

let last = 0n;

/** A flow at a time of its own. */
export function flow(more: Partial<Flow> = {}): FlowEvent & { flow: Flow } {
  const now = BigInt(Date.now()) * 1_000_000n;
  last = now > last ? now : last + 1n;
  const made: Flow = {
    time: last,
    uuid: '',
    type: 'L7',
    verdict: 'FORWARDED',
    dropReason: '',
    source: NOBODY,
    destination: NOBODY,
    reply: false,
    direction: 'INGRESS',
    ipVersion: 4,
    encrypted: false,
    sourceXlated: '',
    transport: 'TCP',
    tcpFlags: [],
    l7: undefined,
    event: { type: 129, subType: 0 },
    policyMatch: 0,
    xlatePoint: '',
    node: 'node-a',
    nodeLabels: [],
    traceId: '',
    ipTraceId: '',
    interface: undefined,
    summary: '',
    rest: {},
    ...more,
  };
  return { time: made.time, node: made.node, flow: made };
}

export interface Exchange {
  client?: FlowEnd;
  server?: FlowEnd;
  direction?: Flow['direction'];
  method?: string;
  url?: string;
  code?: number;
  /** Milliseconds. */
  latency?: number;
  more?: Partial<Flow>;
}

/** A request as Hubble reports it. */
export const request = ({
  client = workload('productpage', { address: '10.0.0.1', port: 40_000 }),
  server = workload('reviews', { address: '10.0.0.2', port: 9080 }),
  direction = 'INGRESS',
  method = 'GET',
  url = 'http://reviews:9080/reviews/0',
  more = {},
}: Exchange = {}) =>
  flow({
    source: client,
    destination: server,
    reply: false,
    direction,
    l7: {
      type: 'REQUEST',
      latency: 0,
      http: { code: 0, method, url, protocol: 'HTTP/1.1', headers: [] },
      dns: undefined,
      kafka: undefined,
    },
    ...more,
  });

/** Its answer, which goes the other way. */
export const response = (exchange: Exchange = {}) => {
  const { flow: asked } = request(exchange);
  const { code = 200, latency = 5 } = exchange;
  return flow({
    ...asked,
    source: asked.destination,
    destination: asked.source,
    reply: true,
    l7: {
      ...asked.l7!,
      type: 'RESPONSE',
      latency: Math.round(latency * 1e6),
      http: { ...asked.l7!.http!, code },
    },
    ...exchange.more,
  });
};
