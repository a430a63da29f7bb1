import { beforeAll, expect, test } from 'vitest';
import { type Series, startPrometheus } from '../support/prometheus.js';
import { installAgent, kubectl, list, METRICS, Namespace, scrape, until } from './support.js';

/** The article's own, word for word. */
const REQUESTS =
  'sum(rate(hubble_flows_processed_total{verdict="FORWARDED", l7_protocol="http"}[5m])) by (source_service, destination_service)';
const FAILURES =
  'sum(rate(hubble_http_responses_total{status_code=~"5.."}[5m])) by (source_service, destination_service)';
const LATENCY =
  'histogram_quantile(0.99, sum(rate(hubble_tcp_latency_seconds_bucket[5m])) by (le, source_service, destination_service))';

const PAIRS = [
  'load -> productpage',
  'productpage -> details',
  'productpage -> reviews',
  'reviews -> ratings',
];

const byPair = (series: readonly Series[]) =>
  Object.fromEntries(
    series.map(({ metric, value }) => [`${metric.source_service} -> ${metric.destination_service}`, value]),
  );

beforeAll(installAgent, 240_000);

test("the article's manifest and queries run verbatim, and tell what the servers' logs say", {
  timeout: 600_000,
}, async () => {
  await using bookinfo = await Namespace.make('bookinfo');
  await bookinfo.manifest('bookinfo.yaml');
  await bookinfo.manifest('load.yaml');
  const pods = await list('pods', '-n', bookinfo.name);
  expect(pods).toHaveLength(5);
  expect(pods.flatMap(({ metadata }) => Object.keys(metadata.annotations ?? {}))).toEqual([]);

  const ab = (count: number, id: string) =>
    bookinfo.exec(
      'deploy/load',
      ...['ab', '-q', '-n', `${count}`, '-c', `${Math.min(count, 4)}`],
      `http://productpage:9080/productpage/${id}`,
    );
  // Rates need a value to rise from, and one in proportion: what it would take to rise from zero is added to the first
  // interval. So each series is there before the first scrape.
  const load = { '1': 300, broken: 30, slow: 20, missing: 10 };
  for (const [id, count] of Object.entries(load)) await ab(count / 10, id);
  const http = { verdict: 'FORWARDED', l7_protocol: 'http', destination_namespace: bookinfo.name };
  await until(
    'all are named',
    async () => (await scrape()).sum('hubble_flows_processed_total', http) === 144,
  );
  await using prometheus = await startPrometheus([{ job: 'meshtap', address: METRICS }]);
  const total = `sum(hubble_flows_processed_total{verdict="FORWARDED", l7_protocol="http", destination_namespace="${bookinfo.name}"})`;
  await until('a first scrape', async () => (await prometheus.query(total))[0]?.value === 144);
  for (const [id, count] of Object.entries(load)) await ab(count, id);

  // The servers' own logs are the truth.
  const log = async (app: string, pattern: RegExp) =>
    Object.entries(await bookinfo.accessLog(app))
      .filter(([line]) => pattern.test(line))
      .reduce((sum, [, count]) => sum + count, 0);
  const logged = {
    'load -> productpage': await log('productpage', /^GET /),
    'productpage -> details': await log('details', /^GET /),
    'productpage -> reviews': await log('reviews', /^GET /),
    'reviews -> ratings': await log('ratings', /^GET /),
  };
  const failed = {
    'productpage -> reviews': await log('reviews', /^GET 5/),
    'reviews -> ratings': await log('ratings', /^GET 5/),
  };
  expect(Object.values(logged)).toEqual([396, 396, 396, 396]);
  expect(Object.values(failed)).toEqual([33, 33]);

  // Every one of them, under the right names.
  const totals = `sum(hubble_flows_processed_total{verdict="FORWARDED", l7_protocol="http"}) by (source_service, destination_service)`;
  await until('the last scrape', async () => (await prometheus.query(total))[0]?.value === 4 * 396);
  expect(pick(byPair(await prometheus.query(totals)), PAIRS)).toEqual(logged);

  const [requests, failures, latency] = await Promise.all(
    [REQUESTS, FAILURES, LATENCY].map(async (query) => byPair(await prometheus.query(query))),
  );
  for (const pair of PAIRS) expect(requests![pair]! / requests![PAIRS[0]!]!).toBeCloseTo(1, 1);
  expect(Object.keys(failures!).sort()).toEqual(Object.keys(failed));
  for (const pair of Object.keys(failed))
    expect(failures![pair]! / requests![pair]!).toBeCloseTo(30 / 360, 2);
  // One in eighteen takes 300 ms at details, and at productpage, which waits for it.
  for (const pair of ['productpage -> details', 'load -> productpage'])
    expect(latency![pair]).toBeGreaterThan(0.25);

  // Namespaces and workloads come with the names, on either side.
  const page = await scrape();
  for (const role of ['client', 'server'] as const) {
    expect(
      page.requests(role, {
        source_service: 'productpage',
        source_namespace: bookinfo.name,
        source_workload: 'productpage-v1',
        destination_service: 'details',
        destination_namespace: bookinfo.name,
        destination_workload: 'details-v1',
      }),
    ).toBe(396);
  }
});

test('the agent reads names, and nothing else', async () => {
  const can = (verb: string, resource: string) =>
    kubectl(['auth', 'can-i', verb, resource, '--as=system:serviceaccount:meshtap:meshtap', '-A']).then(
      () => true,
      () => false,
    );
  const resources = [
    'pods',
    'services',
    'nodes',
    'replicasets.apps',
    'jobs.batch',
    'endpointslices.discovery.k8s.io',
  ];
  for (const resource of resources) {
    expect([resource, await can('list', resource), await can('watch', resource)]).toEqual([
      resource,
      true,
      true,
    ]);
    expect([resource, await can('create', resource), await can('delete', resource)]).toEqual([
      resource,
      false,
      false,
    ]);
  }
  for (const resource of ['secrets', 'configmaps', 'serviceaccounts'])
    expect(await can('list', resource)).toBe(false);
});

function pick(values: Record<string, number>, keys: readonly string[]): Record<string, number> {
  return Object.fromEntries(Object.entries(values).filter(([key]) => keys.includes(key)));
}
