import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { makeCgroup } from '../support/cgroup.js';
import { startMeshtap } from '../support/cli.js';
import { type Series, startPrometheus } from '../support/prometheus.js';

/** The article's own, word for word. */
const REQUESTS =
  'sum(rate(hubble_flows_processed_total{verdict="FORWARDED", l7_protocol="http"}[5m])) by (source_service, destination_service)';
const FAILURES =
  'sum(rate(hubble_http_responses_total{status_code=~"5.."}[5m])) by (source_service, destination_service)';
const LATENCY =
  'histogram_quantile(0.99, sum(rate(hubble_tcp_latency_seconds_bucket[5m])) by (le, source_service, destination_service))';

const byPair = (series: readonly Series[]) =>
  Object.fromEntries(
    series.map(({ metric, value }) => [`${metric.source_service} -> ${metric.destination_service}`, value]),
  );

const timeout = 60_000 * Number(process.env.MESHTAP_TIME_SCALE ?? 1);

test("the article's queries run verbatim on the demo and tell what its schedule says", {
  timeout,
}, async () => {
  const { path } = makeCgroup('demo-queries');
  const demo = startMeshtap(['demo', '--cgroup', path, '--prometheus', '127.0.0.1:0']);
  const [, address] = await demo.says(/prometheus: (http:\S+)/);
  await using prometheus = await startPrometheus([{ job: 'demo', address: address! }]);

  // The rate over 5 minutes of a series that is younger is its increase over 300 s.
  const increase =
    'sum(increase(hubble_flows_processed_total{l7_protocol="http", destination_service="details"}[5m]))';
  for (;;) {
    const [all] = await prometheus.query(increase);
    if ((all?.value ?? 0) >= 500) break;
    await sleep(500);
  }
  const [requests, failures, latency] = await Promise.all(
    [REQUESTS, FAILURES, LATENCY].map(async (q) => byPair(await prometheus.query(q))),
  );
  await demo.stop();

  // Each request once, from one side: 50 a second come in at productpage, and each asks every service once.
  const rates = Object.values(requests!);
  expect(Object.keys(requests!).sort()).toEqual([
    'load -> productpage',
    'productpage -> details',
    'productpage -> reviews',
    'reviews -> ratings',
  ]);
  for (const rate of rates) expect(rate / rates[0]!).toBeCloseTo(1, 1);

  const share = (pair: string) => failures![pair]! / requests![pair]!;
  expect(Object.keys(failures!).sort()).toEqual(['productpage -> reviews', 'reviews -> ratings']);
  expect(share('reviews -> ratings')).toBeGreaterThan(1 / 25 - 0.01);
  expect(share('reviews -> ratings')).toBeLessThan(1 / 25 + 0.01);
  expect(share('productpage -> reviews')).toBeGreaterThan(1 / 50 - 0.01);
  expect(share('productpage -> reviews')).toBeLessThan(1 / 50 + 0.01);

  // One in forty takes 300 ms and everybody waits for it, but not those who ask only details.
  for (const pair of ['reviews -> ratings', 'productpage -> reviews', 'load -> productpage'])
    expect(latency![pair]).toBeGreaterThan(0.25);
  expect(latency!['productpage -> details']).toBeLessThan(0.25);
});
