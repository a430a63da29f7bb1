/**
 * A real Prometheus scrapes our endpoint; what it then answers is compared with what was counted.
 */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { prometheus } from '../../../src/exporters/prometheus.js';
import { labelName, metricName } from '../../../src/exporters/prometheus-names.js';
import { CONTENT_TYPE, serialize } from '../../../src/exporters/text-format.js';
import { createCollector } from '../../../src/metrics/collector.js';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { istio } from '../../../src/metrics/dialects/istio.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import type { MetricFamily } from '../../../src/metrics/family.js';
import type { Counts } from '../../../src/receivers/counts.js';
import { counts, histogram, http, identifyNamed, named, pair, tcp } from '../../support/counts.js';
import { exporterContext } from '../../support/exporter-context.js';
import { type Series, startPrometheus } from '../../support/prometheus.js';

/** What these families should be in Prometheus: labels without empty ones, and the value. */
function expected(families: readonly MetricFamily[]): Map<string, number> {
  const all = new Map<string, number>();
  const add = (name: string, attributes: Record<string, unknown>, value: number) => {
    const labels = Object.entries(attributes)
      .map(([key, label]) => [labelName(key), wellFormed(String(label))])
      .filter(([, label]) => label !== '');
    all.set(keyOf({ ...Object.fromEntries(labels), __name__: name }), value);
  };
  for (const family of families) {
    const name = metricName(family.name, family.unit, family.type);
    if (family.type !== 'histogram') {
      for (const { attributes, value } of family.points) add(name, attributes, value);
      continue;
    }
    for (const { attributes, buckets, count, sum } of family.points) {
      let below = 0;
      [...family.boundaries, '+Inf'].forEach((bound, i) => {
        below += buckets[i]!;
        add(`${name}_bucket`, { ...attributes, le: String(bound) }, below);
      });
      add(`${name}_sum`, attributes, sum);
      add(`${name}_count`, attributes, count);
    }
  }
  return all;
}

/** As text becomes once it is UTF-8. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

function keyOf(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).sort());
}

function found(series: readonly Series[]): Map<string, number> {
  return new Map(
    series.map(({ metric: { job, instance, le, ...labels }, value }) => {
      // OpenMetrics writes whole numbers as 1.0.
      const bound = le === undefined ? {} : { le: le === '+Inf' ? le : String(Number(le)) };
      return [keyOf({ ...labels, ...bound }), value];
    }),
  );
}

it('holds every value of every dialect under every label, in both formats, whatever the names', {
  timeout: 60_000,
}, async () => {
  const [names] = fc.sample(
    fc.array(fc.string({ unit: 'binary', maxLength: 30 }), { minLength: 10, maxLength: 10 }),
    {
      numRuns: 1,
      seed: 1,
    },
  );
  const hostile = ['"', '\\', '\n', '\\n', 'a"b\\c\nd', '\r', '\0', '\t', '\ud800', '{}', 'é日🐈'];
  const long = 'x'.repeat(10_000);
  const pairs = [
    ...[...hostile, ...names!].flatMap((name) => [
      pair('server', named('b', name), named(name, 'ns', name)),
      pair('client', named(name), named('z', name)),
    ]),
    pair('client', named('y'), named(long)),
  ];
  const sweep = counts({
    http: pairs.map((ends, i) =>
      http(ends, {
        status: 200 + i,
        duration: histogram([0.0001, 0.003, i, 100]),
        firstByte: histogram([0.0001]),
      }),
    ),
    tcp: pairs.map((ends, i) =>
      tcp(ends, { opened: i, bytesSent: 2 ** 53 - 1, refused: 1, rtt: histogram([i]) }),
    ),
    ledger: [{ role: 'server', subject: 'requests', outcome: 'seen', count: 7 }],
  });
  const collector = createCollector({
    sources: () => [{ collect: async () => sweep }],
    identify: identifyNamed(),
    dialects: [otel(), hubble(), istio()],
  });
  // Its own duration is another one each time.
  const collect = async () =>
    (await collector.collect()).filter(({ name }) => name !== 'meshtap.collection.duration');
  const families = await collect();

  await using openmetrics = await prometheus({ port: 0 }).start(exporterContext(collect));
  const text = createServer((_, response) => {
    response.setHeader('content-type', CONTENT_TYPE.text);
    for (const piece of serialize({ families, resource: {} }, { format: 'text' })) response.write(piece);
    response.end();
  });
  await new Promise<void>((resolve) => text.listen(0, '127.0.0.1', resolve));
  try {
    await using server = await startPrometheus(
      [
        { job: 'openmetrics', address: openmetrics.address },
        { job: 'text', address: `http://127.0.0.1:${(text.address() as AddressInfo).port}/metrics` },
      ],
      { interval: 2 },
    );
    // A target is scraped, refused for what it says, or slow because the machine is: only the last may pass.
    await vi.waitUntil(
      async () => {
        for (const { error } of await server.targets())
          expect(['', 'context deadline exceeded']).toContain(error);
        return (await server.query('sum(up) == 2')).length > 0;
      },
      { timeout: 40_000, interval: 200 },
    );
    const truth = expected(families);
    for (const job of ['openmetrics', 'text']) {
      const all = await server.query(`{job="${job}", __name__!~"up|scrape_.*|target_info"}`);
      const got = found(all);
      expect(got.size).toBe(all.length);
      expect(got).toEqual(truth);
    }
    const units = await server.query('target_info{job="openmetrics", service_name="meshtap-test"}');
    expect(units).toMatchObject([{ value: 1 }]);
  } finally {
    text.closeAllConnections();
    text.close();
  }
});

it('answers the article’s queries with the truth', { timeout: 60_000 }, async () => {
  const [web, shop, db] = ['web', 'shop', 'db'].map((name) => named(name));
  // Both sides of web to shop are watched, of shop to db only the client's.
  const seenByShop = pair('server', shop!, web!);
  const seenByWeb = pair('client', web!, shop!);
  const seenByShopToo = pair('client', shop!, db!);
  // Requests per second by status, and how long each takes: p99 of 100 lies where the 99th is.
  const load = [
    { from: 'web', to: 'shop', sides: [seenByShop, seenByWeb], ok: 90, failed: 10, fast: 98, slow: 2 },
    { from: 'shop', to: 'db', sides: [seenByShopToo], ok: 40, failed: 0, fast: 40, slow: 0 },
  ];
  const start = Date.now();
  const sweep = async (): Promise<Counts> => {
    const seconds = Math.floor((Date.now() - start) / 1000) + 1;
    const observed = (count: number, slow: number) =>
      histogram(Array.from({ length: count * seconds }, (_, i) => (i < slow * seconds ? 0.4 : 0.004)));
    return counts({
      startedAt: start,
      http: load.flatMap(({ sides, ok, failed, slow }) =>
        sides.flatMap((ends) => [
          http(ends, { status: 200, duration: observed(ok, slow) }),
          ...(failed ? [http(ends, { status: 503, duration: observed(failed, 0) })] : []),
          // Forwarded, but without an answer: neither a response nor a latency.
          http(ends, { status: undefined, failure: 'reset', duration: observed(5, 5) }),
        ]),
      ),
      tcp: load.flatMap(({ sides }) => sides.map((ends) => tcp(ends, { opened: 1000 * seconds }))),
    });
  };
  const collector = createCollector({
    sources: () => [{ collect: sweep }],
    identify: identifyNamed(['web', 'shop']),
    dialects: [otel(), hubble(), istio()],
  });
  await using running = await prometheus({ port: 0 }).start(exporterContext(collector.collect));
  await using server = await startPrometheus([{ job: 'meshtap', address: running.address }]);
  await vi.waitUntil(async () => (await server.query('min(count_over_time(up[1m])) >= 5')).length > 0, {
    timeout: 30_000,
    interval: 200,
  });

  const now = Date.now() / 1000;
  const byPair = async (expression: string) =>
    new Map(
      (await server.query(expression, now)).map(({ metric, value }) => {
        expect(Object.keys(metric).sort()).toEqual(['destination_service', 'source_service']);
        return [`${metric.source_service} ${metric.destination_service}`, value];
      }),
    );
  const requests = await byPair(
    'sum(rate(hubble_flows_processed_total{verdict="FORWARDED", l7_protocol="http"}[5m])) by (source_service, destination_service)',
  );
  const errors = await byPair(
    'sum(rate(hubble_http_responses_total{status_code=~"5.."}[5m])) by (source_service, destination_service)',
  );
  const p99 = await byPair(
    'histogram_quantile(0.99, sum(rate(hubble_tcp_latency_seconds_bucket[5m])) by (le, source_service, destination_service))',
  );

  // Seconds of counting that rate() takes for five minutes: the same for all series, as all are scraped together.
  const covered = (requests.get('shop db')! * 300) / 45;
  expect(covered).toBeGreaterThan(3);
  expect(covered).toBeLessThan(40);
  const rate = (perSecond: number) => (perSecond * covered) / 300;
  expect([...requests.keys()].sort()).toEqual(['shop db', 'web shop']);
  expect(requests.get('web shop')).toBeCloseTo(rate(105), 9);
  expect([...errors.keys()]).toEqual(['web shop']);
  expect(errors.get('web shop')).toBeCloseTo(rate(10), 9);
  // Of 100, 98 took 4 ms, in the bucket from 2.5 to 5 ms, and 2 took 400 ms, in the one from 250 to 500 ms: the 99th
  // is in the middle of that. Of 40 all took 4 ms.
  expect(p99.get('web shop')).toBeCloseTo(0.25 + (0.5 - 0.25) * 0.5, 9);
  expect(p99.get('shop db')).toBeCloseTo(0.0025 + (0.005 - 0.0025) * 0.99, 9);
});
