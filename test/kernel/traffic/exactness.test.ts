import { describe, expect, onTestFinished } from 'vitest';
import { ab, type Classes, h2load, wrk } from '../../support/load.js';
import { ADDRESSES, Namespaces } from '../../support/netns.js';
import { Nginx } from '../../support/nginx.js';
import { many } from '../../support/scale.js';
import { test } from '../../support/traffic.js';

const REQUESTS = many(20_000);
const PATHS = ['/ok', '/missing', '/busy'];

function outcomes(report: Classes) {
  const byStatus = { 'GET 200': report['2xx'], 'GET 404': report['4xx'], 'GET 503': report['5xx'] };
  for (const count of Object.values(byStatus)) expect(count).toBeGreaterThan(REQUESTS / 4); // it takes turns
  return byStatus;
}

describe('a load bounded in count: the generator, the access log and both sides agree', () => {
  test.for([
    { connections: 1, host: '127.0.0.1' },
    { connections: 32, host: '127.0.0.1' },
    { connections: 256, host: '127.0.0.1' },
    { connections: 32, host: '[::1]' },
  ])('h2load, $connections connections to $host', async ({ connections, host }, { scope, meter, nginx }) => {
    const urls = PATHS.map((path) => nginx.url(path, host));
    let expected = {};
    const seen = await meter.during(async () => {
      const report = await h2load(scope, { urls, requests: REQUESTS, connections });
      expected = outcomes(report);
    });
    expect(nginx.takeLog()).toEqual(expected);
    seen.expectExchanges(expected);
    for (const role of ['client', 'server'] as const)
      expect(seen.tcp(role)).toMatchObject({ opened: connections, closed: connections });
  });

  test.for(
    [true, false].flatMap((keepAlive) =>
      [1, 32, 256].map((connections) => ({
        keepAlive,
        connections,
        what: keepAlive ? 'kept alive' : 'for one request each',
      })),
    ),
  )('ab, $connections connections $what', async ({ keepAlive, connections }, { scope, meter, nginx }) => {
    const expected: Record<string, number> = {};
    const seen = await meter.during(async () => {
      const [ok, other] = [`GET 200${VERSION}`, `GET 503${VERSION}`];
      for (const [path, requests] of [
        ['/ok', 900],
        ['/busy', 300],
      ] as const) {
        const report = await ab(scope, { urls: [nginx.url(path)], requests, connections, keepAlive });
        expected[ok] = (expected[ok] ?? 0) + report.ok;
        expected[other] = (expected[other] ?? 0) + report.other;
      }
      expect(expected).toEqual({ [ok]: 900, [other]: 300 });
    });
    expect(nginx.takeLog()).toEqual({ 'GET 200': 900, 'GET 503': 300 });
    seen.expectExchanges(expected);
  });

  test.for(['v4', 'v6'] as const)('across two network namespaces, IP%s', async (family, { scope, meter }) => {
    const namespaces = new Namespaces();
    onTestFinished(() => namespaces[Symbol.dispose]());
    const host = family === 'v6' ? `[${ADDRESSES.v6.server}]` : ADDRESSES.v4.server;
    const nginx = await Nginx.start(scope, { service: 'far', hosts: [host], netns: namespaces.server });
    onTestFinished(() => nginx.removeFiles());
    let expected = {};
    const seen = await meter.during(async () => {
      const urls = PATHS.map((path) => nginx.url(path, host));
      const options = { urls, requests: REQUESTS, connections: 32, netns: namespaces.client };
      expected = outcomes(await h2load(scope, options));
    });
    expect(nginx.takeLog()).toEqual(expected);
    seen.expectExchanges(expected, 'client > far');
  });
});

const VERSION = ' HTTP/1.0'; // of ab's requests

test('a load bounded in time differs by at most the requests in flight', async ({ scope, meter, nginx }) => {
  const connections = 64;
  let reported = 0;
  const seen = await meter.during(async () => {
    reported = await wrk(scope, { url: nginx.url('/ok'), seconds: 1, connections });
  });
  const logged = nginx.takeLog()['GET 200']!;
  for (const role of ['client', 'server'] as const) {
    const counted = Object.values(seen.requests(role)).reduce((sum, count) => sum + count, 0);
    expect(counted).toBeGreaterThanOrEqual(reported);
    expect(counted).toBeLessThanOrEqual(reported + connections);
    expect(Math.abs(counted - logged)).toBeLessThanOrEqual(connections);
  }
  seen.expectReconciled();
});
