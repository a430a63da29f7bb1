/**
 * Makes `Counts` whose truth is known by construction, and the names of the ends in them.
 *
 * @module
 */

import { DEFAULT_BOUNDARIES } from '../../src/config/boundaries.js';
import { type Identity, UNKNOWN } from '../../src/identity/identity.js';
import type { Identify } from '../../src/metrics/model.js';
import type {
  Counts,
  DnsCounts,
  Endpoint,
  HistogramCounts,
  HttpCounts,
  Pair,
  Role,
  TcpCounts,
} from '../../src/receivers/counts.js';

/** A histogram of these observations, in seconds. */
export function histogram(
  observations: readonly number[] = [],
  boundaries: readonly number[] = DEFAULT_BOUNDARIES,
): HistogramCounts {
  const buckets = new Float64Array(boundaries.length + 1);
  let sum = 0;
  for (const seconds of observations) {
    const index = boundaries.findIndex((bound) => seconds <= bound);
    buckets[index < 0 ? boundaries.length : index]! += 1;
    sum += seconds;
  }
  return { buckets, sum, count: observations.length };
}

export function identity(service: string, more: Partial<Identity> = {}): Identity {
  return { service, namespace: '', workload: '', labels: {}, watched: false, ...more };
}

let cgroups = 1000n;

/** An end whose name is its own, so that `identifyNamed` finds it. */
export function named(service: string, namespace = '', workload = ''): Endpoint {
  return { kind: 'named', service, namespace, workload };
}

export function pair(role: Role, local: Endpoint, remote: Endpoint, port = 80, overflow = false): Pair {
  return { role, local, remote, port, overflow };
}

export function overflowPair(role: Role): Pair {
  const nobody: Endpoint = { kind: 'cgroup', cgroup: cgroups++ };
  return pair(role, nobody, nobody, 0, true);
}

export function http(pair: Pair, more: Partial<HttpCounts> = {}): HttpCounts {
  return {
    pair,
    method: 'GET',
    status: 200,
    failure: undefined,
    version: '1.1',
    scheme: 'http',
    rpc: undefined,
    route: undefined,
    overflow: false,
    duration: histogram(),
    firstByte: histogram(),
    ...more,
  };
}

export function tcp(pair: Pair, more: Partial<TcpCounts> = {}): TcpCounts {
  return {
    pair,
    opened: 0,
    closed: 0,
    reset: 0,
    timedOut: 0,
    refused: 0,
    unreachable: 0,
    cancelled: 0,
    tls: 0,
    tlsDecoded: 0,
    bytesSent: 0,
    bytesReceived: 0,
    retransmits: 0,
    connect: histogram(),
    rtt: histogram(),
    ...more,
  };
}

export function dns(pair: Pair, more: Partial<DnsCounts> = {}): DnsCounts {
  return {
    ...{ pair, type: 'A', code: undefined, addresses: 0, queries: 0, unanswered: 0, records: {} },
    ...{ duration: histogram(), overflow: false },
    ...more,
  };
}

export function counts(more: Partial<Counts> = {}): Counts {
  return {
    startedAt: Date.now() - 60_000,
    at: Date.now(),
    boundaries: DEFAULT_BOUNDARIES,
    tcp: [],
    http: [],
    dns: [],
    ledger: [],
    budgets: [],
    ...more,
  };
}

/** Names every `named` end by what it says and everybody else `unknown`; `watched` lists services that are. */
export function identifyNamed(watched: readonly string[] = []): Identify {
  const who = (end: Endpoint): Identity =>
    end.kind === 'named'
      ? identity(end.service, {
          namespace: end.namespace ?? '',
          workload: end.workload ?? '',
          watched: watched.includes(end.service),
        })
      : UNKNOWN;
  return ({ role, local, remote }) => {
    const [source, destination] = role === 'client' ? [local, remote] : [remote, local];
    return { source: who(source), destination: who(destination) };
  };
}
