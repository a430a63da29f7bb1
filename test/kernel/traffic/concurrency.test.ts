// Many services at once: each exchange belongs to the pair that had it.
import { expect, onTestFinished } from 'vitest';
import { h2load } from '../../support/load.js';
import { GET, OK, request } from '../../support/messages.js';
import { Nginx, type NginxOptions } from '../../support/nginx.js';
import { Line, Peer } from '../../support/raw-peer.js';
import type { Scope } from '../../support/scope.js';
import { test } from '../../support/traffic.js';

async function startNginx(scope: Scope, options: NginxOptions): Promise<Nginx> {
  const nginx = await Nginx.start(scope, options);
  onTestFinished(() => nginx.removeFiles());
  return nginx;
}

test('three services ask three others at the same time', async ({ scope, meter }) => {
  const servers: Record<string, Nginx> = {};
  for (const name of ['details', 'reviews', 'ratings'])
    servers[name] = await startNginx(scope, { service: name });
  const expected: Record<string, number> = {};
  const logs: Record<string, Record<string, number>> = {};
  const loads = ['web', 'mobile', 'batch'].flatMap((client, row) =>
    Object.entries(servers).map(([server, nginx], column) => async () => {
      const requests = 1000 + 100 * (3 * row + column);
      const [path, outcome] = (
        [
          ['/ok', 'GET 200'],
          ['/missing', 'GET 404'],
          ['/busy', 'GET 503'],
        ] as const
      )[(row + column) % 3]!;
      expected[`${client} > ${server}|${outcome}`] = requests;
      logs[server] = { ...logs[server], [outcome]: requests };
      await h2load(scope, { urls: [nginx.url(path)], requests, connections: 20, service: client });
    }),
  );
  const seen = await meter.during(() => Promise.all(loads.map((load) => load())));
  expect(seen.requests('client')).toEqual(expected);
  expect(seen.requests('server')).toEqual(expected);
  seen.expectReconciled();
  for (const [name, nginx] of Object.entries(servers)) expect(nginx.takeLog()).toEqual(logs[name]);
  for (const name of Object.keys(expected)) {
    const pair = name.split('|')[0]!;
    for (const role of ['client', 'server'] as const)
      expect(seen.tcp(role, pair)).toMatchObject({ opened: 20, closed: 20 });
  }
});

test('a service between two others is the server of one and the client of the other', async ({
  scope,
  meter,
}) => {
  const back = await startNginx(scope, { service: 'back' });
  const front = await startNginx(scope, { service: 'front', upstream: back.url() });
  const requests = 900;
  const seen = await meter.during(async () => {
    const urls = ['/proxy/ok', '/proxy/busy', '/ok'].map((path) => front.url(path));
    await h2load(scope, { urls, requests, connections: 16, service: 'user' });
  });
  const log = back.takeLog();
  const passed = {
    'front > back|GET 200 HTTP/1.0': log['GET 200'],
    'front > back|GET 503 HTTP/1.0': log['GET 503'],
  };
  const asked = front.takeLog();
  const expected = {
    ...passed,
    'user > front|GET 200': asked['GET 200'],
    'user > front|GET 503': log['GET 503'],
  };
  expect(asked['GET 200']! + asked['GET 503']!).toBe(requests);
  expect(seen.requests('client')).toEqual(expected);
  expect(seen.requests('server')).toEqual(expected);
  seen.expectReconciled();
});

test('a service that asks itself', async ({ scope, meter }) => {
  const nginx = await startNginx(scope, { service: 'alone' });
  const seen = await meter.during(() =>
    h2load(scope, { urls: [nginx.url('/ok')], requests: 500, connections: 8, service: 'alone' }),
  );
  seen.expectExchanges({ 'GET 200': 500 }, 'alone > alone');
});

test('two servers at the same port of different addresses', async ({ scope, meter }) => {
  const client = new Peer(scope, 'client');
  const [one, two] = [new Peer(scope, 'one'), new Peer(scope, 'two')];
  const { port } = await one.listen('127.0.0.1');
  const seen = await meter.during(async () => {
    const line = await Line.connect(client, one, { host: '127.0.0.1', port });
    const other = await Line.connect(client, two, await two.listen('127.0.0.2', port));
    for (let i = 0; i < 5; i++) {
      await line.exchange(GET, OK);
      await other.exchange(request('PUT'), OK);
    }
    await Promise.all([line.hangUp(), other.hangUp()]);
  });
  const expected = { 'client > one|GET 200': 5, 'client > two|PUT 200': 5 };
  expect(seen.requests('client')).toEqual(expected);
  expect(seen.requests('server')).toEqual(expected);
});

test('two hundred connections whose steps interleave', async ({ meter, connect }) => {
  const count = 200;
  const seen = await meter.during(async () => {
    const lines = await Promise.all(Array.from({ length: count }, () => connect()));
    await Promise.all(
      lines.map(async (line, i) => {
        const at = i % GET.length;
        for (let round = 0; round < 5; round++)
          await line.exchange([GET.slice(0, at), GET.slice(at)], [OK.slice(0, at), OK.slice(at)]);
        await line.hangUp();
      }),
    );
  });
  seen.expectExchanges({ 'GET 200': 5 * count });
  seen.expectLedger({ 'connections http1': count });
});
