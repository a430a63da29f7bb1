/**
 * Puts edges and flows into what the page is told.
 *
 * @module
 */
import { hostname } from 'node:os';
import { connectionEnds, type Flow, type FlowEnd, milliseconds } from '../../flows/flow.js';
import type { FlowHub } from '../../flows/hub.js';
import { nameOf } from '../../flows/names.js';
import { escaped, eventWords, httpSummary, summaryWords, verdictWords } from '../../flows/words.js';
import { type EdgeCounts, type EdgeEnd, type EdgeRates, edgeKey, edgeState } from '../../metrics/edges.js';
import { VERSION } from '../../metrics/version.js';
import type { EdgeView } from './edge-window.js';
import type { WireDetails, WireEdge, WireFlow, WireMap } from './wire.js';

/** Flows of an edge that are shown. */
const LATEST = 20;

/** Everything on one page. */
export function mapOf({ now, rates, seconds }: EdgeView): WireMap {
  const { startedAt, at, nameless } = now;
  const edges = rates.map((one) => edgeOf(one, seconds));
  return { version: VERSION, host: hostname(), startedAt, at, seconds: seconds ?? null, nameless, edges };
}

function edgeOf(rates: EdgeRates, seconds: number | undefined): WireEdge {
  const { source, destination, ports, protocols, tls, tlsDecoded } = rates.edge;
  const counts = countsOf(rates);
  return {
    ...{ source, destination, ports, protocols, tls, tlsDecoded },
    total: countsOf(rates.edge),
    rate: seconds === undefined ? null : perSecond(counts, seconds),
    state: edgeState(counts),
    p50: rates.p50,
    p99: rates.p99,
  };
}

const countsOf = (counts: EdgeCounts): EdgeCounts => ({
  requests: counts.requests,
  errors: counts.errors,
  connections: counts.connections,
  failedConnects: counts.failedConnects,
  bytes: counts.bytes,
  lookups: counts.lookups,
  unanswered: counts.unanswered,
});

const perSecond = (counts: EdgeCounts, seconds: number): EdgeCounts =>
  Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count / seconds])) as {
    [K in keyof EdgeCounts]: number;
  };

/** All about one edge; undefined if there is none between these two. */
export function detailsOf(
  { now, rates, seconds }: EdgeView,
  source: EdgeEnd,
  destination: EdgeEnd,
  flows: FlowHub,
): WireDetails | undefined {
  const edge = now.byKey.get(edgeKey(source, destination));
  const recent = rates.find((one) => one.edge === edge);
  if (!edge || !recent) return undefined;
  return {
    edge: edgeOf(recent, seconds),
    at: now.at,
    seconds: seconds ?? null,
    outcomes: Array.from(edge.outcomes, ([name, { error, count }]) => ({
      ...{ name, error, total: count },
      recent: recent.outcomes.get(name)?.count ?? 0,
    })).sort((a, b) => b.total - a.total),
    buckets: Array.from(edge.buckets, (total, i) => ({
      bound: now.boundaries[i] ?? null,
      recent: recent.buckets[i] ?? 0,
      total,
    })),
    flows: latestFlows(flows, source, destination),
  };
}

/** The newest first; null if there never were any. */
function latestFlows(hub: FlowHub, source: EdgeEnd, destination: EdgeEnd): WireFlow[] | null {
  if (hub.status().seen === 0) return null;
  const between = hub.kept().filter((flow) => {
    const { client, server } = connectionEnds(flow);
    return isCalled(client, source) && isCalled(server, destination);
  });
  return between.slice(-LATEST).reverse().map(flowOf);
}

/** A flow has several names for an end; the edge has one of them. */
function isCalled(end: FlowEnd, { service, namespace }: EdgeEnd): boolean {
  const name = nameOf(end);
  if (name.namespace !== namespace) return false;
  return [name.service, name.workload, end.service?.name, ...end.names].includes(service);
}

function flowOf(flow: Flow): WireFlow {
  const { l7, verdict } = flow;
  return {
    time: milliseconds(flow.time),
    verdict: verdictWords(flow),
    type: escaped(eventWords(flow)),
    summary: escaped(summaryWords(flow) || httpSummary(l7)),
    latency: l7?.latency ? l7.latency / 1e6 : null,
    error: verdict === 'DROPPED' || verdict === 'ERROR' || (l7?.http?.code ?? 0) >= 500,
  };
}
