// HTTP/2 with prior knowledge, under loads bounded in count: generator, access log and both sides agree.
import { describe, expect, onTestFinished } from 'vitest';
import { type Classes, h2load } from '../../support/load.js';
import { nghttpd } from '../../support/nghttpd.js';
import { Nginx } from '../../support/nginx.js';
import { many } from '../../support/scale.js';
import { test } from '../../support/traffic.js';

const REQUESTS = many(6000);
/** One after the other they wait for delayed acknowledgements. */
const FEW = many(200);
const PATHS = ['/ok', '/missing', '/busy', '/files/small'];

describe('h2load against nginx', () => {
  test.for([
    { connections: 1, streams: 1 },
    { connections: 1, streams: 10 },
    { connections: 4, streams: 100 },
    { connections: 64, streams: 8 },
  ])('$connections connections, $streams streams', async ({ connections, streams }, { scope, meter }) => {
    const nginx = await Nginx.start(scope, { http2: true });
    onTestFinished(() => nginx.removeFiles());
    const urls = PATHS.map((path) => nginx.url(path));
    const seen = await meter.during(() =>
      h2load(scope, { urls, requests: streams === 1 ? FEW : REQUESTS, connections, streams }),
    );
    const truth = Object.entries(nginx.takeLog()).map(([name, count]) => [`${name} HTTP/2`, count]);
    expect(truth.map(([name]) => name).sort()).toEqual([
      'GET 200 HTTP/2',
      'GET 404 HTTP/2',
      'GET 503 HTTP/2',
    ]);
    seen.expectExchanges(Object.fromEntries(truth));
    for (const role of ['client', 'server'] as const)
      expect(seen.ledger(role)).toMatchObject({ 'connections http2': connections });
  });
});

describe('nghttpd', () => {
  test.for([
    { connections: 1, streams: 1 },
    { connections: 1, streams: 10 },
    { connections: 8, streams: 100 },
  ])(
    'h2load, $connections connections, $streams streams',
    async ({ connections, streams }, { scope, meter }) => {
      const url = await nghttpd(scope);
      const urls = ['/small', '/large', '/none'].map((path) => url + path);
      let report: Classes | undefined;
      const seen = await meter.during(async () => {
        report = await h2load(scope, {
          urls,
          requests: streams === 1 ? FEW : REQUESTS / 2,
          connections,
          streams,
        });
      });
      seen.expectExchanges({ 'GET 200 HTTP/2': report!['2xx'], 'GET 404 HTTP/2': report!['4xx'] });
    },
  );
});
