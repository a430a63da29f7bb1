import { describe, expect, test } from 'vitest';
import { NOBODY } from '../../../src/flows/flow.js';
import { startChain } from '../../../src/identity/chain.js';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { istio } from '../../../src/metrics/dialects/istio.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { resolve } from '../../../src/metrics/model.js';
import type { Counts, Endpoint } from '../../../src/receivers/counts.js';
import { FlowCounter } from '../../../src/receivers/flow-counts.js';
import { flow, request, response, workload } from '../../support/flows.js';

const counter = (limits = {}) => new FlowCounter([0.001, 0.1, 10], limits);

/** Each line of the ledger that is not 0. */
const ledger = ({ ledger }: Counts) =>
  Object.fromEntries(
    ledger
      .filter(({ count }) => count > 0)
      .map(({ role, subject, outcome, count }) => [`${role} ${subject} ${outcome}`, count]),
  );
const nameOf = (end: Endpoint) => (end.kind === 'named' ? end.service : end.kind);
const rows = ({ http }: Counts) =>
  http.map(({ pair, method, status, version, duration, untimed }) => [
    `${pair.role}: ${nameOf(pair.local)}, ${nameOf(pair.remote)}:${pair.port}`,
    `${method} ${status} ${version}`,
    duration.count,
    untimed,
  ]);

describe('an exchange', () => {
  test('is counted at its answer, from each side that reports it', () => {
    const counts = counter();
    for (const direction of ['EGRESS', 'INGRESS'] as const) counts.add(request({ direction }));
    for (const direction of ['INGRESS', 'EGRESS'] as const)
      counts.add(response({ direction, code: 404, latency: 50 }));
    const all = counts.counts();
    expect(rows(all)).toEqual([
      ['server: reviews, productpage:9080', 'GET 404 1.1', 1, 0],
      ['client: productpage, reviews:9080', 'GET 404 1.1', 1, 0],
    ]);
    expect(all.http[0]!.duration).toEqual({ sum: 0.05, count: 1, buckets: Float64Array.of(0, 1, 0, 0) });
    expect(all.http[0]!.firstByte.count).toBe(0);
    expect(all.tcp).toEqual([]);
    expect(ledger(all)).toEqual({
      ...{ 'unknown flows seen': 4, 'client flows request': 1, 'server flows request': 1 },
      ...{ 'client flows answered': 1, 'server flows answered': 1 },
    });
  });

  test('with no latency is counted, and is in no bucket', () => {
    const counts = counter();
    counts.add(response({ latency: 0 }));
    counts.add(response({ latency: 3 }));
    const all = counts.counts();
    expect(rows(all)).toEqual([[expect.anything(), 'GET 200 1.1', 1, 1]]);
    expect(ledger(all)).toMatchObject({ 'unknown exchanges untimed': 1, 'server flows answered': 2 });
  });

  test('told in one flow, as a request that has its status, is counted once', () => {
    const counts = counter();
    const { flow: asked } = request();
    const told = flow({
      ...asked,
      l7: { ...asked.l7!, latency: 5_000_000, http: { ...asked.l7!.http!, code: 201 } },
    });
    counts.add(told);
    expect(rows(counts.counts())).toEqual([['server: reviews, productpage:9080', 'GET 201 1.1', 1, 0]]);
  });

  test('that a policy refused has no status, so none is told', () => {
    const counts = counter();
    counts.add(request({ more: { verdict: 'DROPPED' } }));
    const all = counts.counts();
    expect(rows(all)).toEqual([]);
    expect(ledger(all)).toEqual({ 'unknown flows seen': 1, 'server flows denied': 1 });
  });

  test('that nobody knows the side of is in the ledger alone', () => {
    const counts = counter();
    counts.add(response({ direction: 'TRAFFIC_DIRECTION_UNKNOWN' }));
    const all = counts.counts();
    expect(rows(all)).toEqual([]);
    expect(ledger(all)).toEqual({ 'unknown flows seen': 1, 'unknown flows sideless': 1 });
  });

  test('by an answer that does not say which way it goes', () => {
    const counts = counter();
    counts.add(response({ more: { reply: undefined } }));
    expect(rows(counts.counts())[0]![0]).toBe('server: reviews, productpage:9080');
  });

  test('what is no exchange is seen, and nothing else', () => {
    const counts = counter();
    counts.add(flow({ type: 'L3_L4', tcpFlags: ['SYN'] }));
    counts.add(flow({ verdict: 'DROPPED', direction: 'EGRESS' }));
    const all = counts.counts();
    expect(all.http).toEqual([]);
    expect(ledger(all)).toEqual({
      'unknown flows seen': 2,
      'server flows other': 1,
      'client flows other': 1,
    });
  });

  test('labels come from sets that end', () => {
    const counts = counter();
    for (const method of ['get', 'BREW', 'x'.repeat(100)]) counts.add(response({ method }));
    for (const protocol of ['HTTP/2', 'HTTP/2.0', 'h2c'])
      counts.add(
        response({
          more: { l7: { ...response().flow.l7!, http: { ...response().flow.l7!.http!, protocol } } },
        }),
      );
    expect(rows(counts.counts()).map(([, labels]) => labels)).toEqual([
      ...['GET 200 1.1', '_OTHER 200 1.1', 'GET 200 2', 'GET 200 unknown'],
    ]);
  });
});

describe('names of ends', () => {
  const named = (server: Partial<Parameters<typeof workload>[1]> & object) => {
    const counts = counter();
    counts.add(response({ server: { ...NOBODY, port: 80, ...server } }));
    const [{ pair } = { pair: undefined }] = counts.counts().http;
    const { kind: _, watched: __, ...name } = pair!.local as Endpoint & { kind: 'named' };
    return name;
  };
  test.each([
    [
      {
        labels: ['k8s:app=web', 'k8s:k8s-app=other'],
        workloads: [{ name: 'web-v1', kind: 'Deployment' }],
        namespace: 'shop',
      },
      'other shop web-v1',
    ],
    [
      { workloads: [{ name: 'web-v1', kind: 'Deployment' }], service: { name: 'vip', namespace: 'shop' } },
      'web-v1 shop web-v1',
    ],
    [{ service: { name: 'vip', namespace: 'shop' } }, 'vip shop '],
    [{ identity: 2, labels: ['reserved:world'], names: ['example.com'] }, 'world  '],
    [{ labels: ['reserved:health'] }, 'health  '],
    [{ names: ['example.com', 'www.example.com'] }, 'example.com  '],
    [{ address: '10.1.2.3', pod: 'web-1-x2z' }, 'unknown  '],
  ])('%o', (end, name) => {
    const { service, namespace, workload } = named(end);
    expect(`${service} ${namespace} ${workload}`).toBe(name);
  });
});

test('what exceeds the budget is counted in the overflow series', () => {
  const counts = counter({ pairs: 2, series: 3 });
  for (let i = 0; i < 10; i++) counts.add(response({ client: workload(`client-${i}`) }));
  for (const code of [201, 202, 203, 204]) counts.add(response({ client: workload('client-0'), code }));
  const all = counts.counts();
  expect(all.http.reduce((sum, { duration }) => sum + duration.count, 0)).toBe(14);
  const overflow = all.http.filter((row) => row.overflow);
  expect(overflow.map(({ pair, duration }) => [pair.overflow, duration.count])).toEqual([[true, 12]]);
  expect(ledger(all)).toMatchObject({
    ...{ 'unknown pairs overflowed': 8, 'unknown series overflowed': 4, 'server flows answered': 14 },
  });
});

describe('in metrics', () => {
  const families = async (counts: FlowCounter) => {
    await using chain = await startChain({ resolvers: [] }, new AbortController().signal);
    const snapshot = resolve(counts.counts(), ({ role, local, remote, port }) => {
      const identify = (endpoint: Endpoint, of: 'client' | 'server') =>
        chain.identify({ endpoint, role: of, port: of === 'server' ? port : undefined });
      const [client, server] = role === 'client' ? [local, remote] : [remote, local];
      return { source: identify(client, 'client'), destination: identify(server, 'server') };
    });
    return [otel(), hubble(), istio()].flatMap((dialect) => dialect.families(snapshot));
  };
  const sum = (all: Awaited<ReturnType<typeof families>>, name: string) => {
    const family = all.find((one) => one.name === name || one.prometheusName === name);
    return family && family.type !== 'histogram'
      ? family.points.reduce((total, { value }) => total + value, 0)
      : undefined;
  };

  test('hubble has an exchange once, though both sides report it', async () => {
    const counts = counter();
    for (const direction of ['EGRESS', 'INGRESS'] as const) counts.add(request({ direction }));
    for (const direction of ['INGRESS', 'EGRESS'] as const) counts.add(response({ direction }));
    // A server that nobody watches.
    const server = workload('outside');
    counts.add(request({ server, direction: 'EGRESS' }));
    counts.add(response({ server, direction: 'EGRESS', latency: 0 }));
    const all = await families(counts);
    expect(sum(all, 'hubble_http_requests_total')).toBe(2);
    expect(sum(all, 'istio_requests_total')).toBe(3);
  });

  test('nothing is said of connections', async () => {
    const counts = counter();
    counts.add(response());
    const names = (await families(counts)).filter(({ points }) => points.length > 0).map(({ name }) => name);
    expect(names.filter((name) => /tcp|connection/.test(name))).toEqual(['hubble_tcp_latency_seconds']);
  });
});
