// What is counted inside TLS is what the server has in its log, on both sides; what can not be told is not counted.
import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import { Meter } from '../../support/meter.js';
import { Nginx } from '../../support/nginx.js';
import { Scope } from '../../support/scope.js';
import { libraryOf, SharedLayer } from '../../support/shared-layer.js';
import { NodeHttps, PythonClient, type Tally, TlsLoad, UrlClient } from '../../support/tls.js';
import { probed, test } from '../../support/tls-stage.js';

const PATHS = ['/ok', '/missing', '/busy', '/files/small', '/ok'];

test.for([
  { http2: false, only: '1.2' },
  { http2: false, only: '1.3' },
  { http2: true, only: '1.2' },
  { http2: true, only: '1.3' },
] as const)('h2load and nginx, $only, HTTP/2: $http2', async ({ http2, only }, { scope, meter, serve }) => {
  const { server, url } = await serve({ http2, only });
  const load = new TlsLoad(scope, { requests: 1000, connections: 20, http2 });
  await probed(meter, 4);
  const seen = await meter.during(() => load.run(PATHS.map(url)));
  const log = server.takeLog();
  expect(Object.values(log).reduce((sum, n) => sum + n)).toBe(1000);
  const suffix = `${http2 ? ' HTTP/2' : ''} https`;
  seen.expectExchanges(Object.fromEntries(Object.entries(log).map(([name, n]) => [name + suffix, n])));
  seen.expectLedger({ 'connections tls': 20, 'connections tls_decoded': 20 });
  for (const role of ['client', 'server'] as const)
    expect(seen.tcp(role)).toMatchObject({ opened: 20, closed: 20, tls: 20, tlsDecoded: 20 });
});

test('Python, which reads and writes by other functions', async ({ scope, meter, serve }) => {
  const { server } = await serve();
  const client = new PythonClient(scope, server.port, 'sync');
  await probed(meter, 4);
  const seen = await meter.during(async () => {
    for (const path of ['/ok', '/missing', '/files/large', '/ok']) await client.ask(path);
    await client.hangUp();
  });
  expect(server.takeLog()).toEqual({ 'GET 200': 3, 'GET 404': 1 });
  seen.expectExchanges({ 'GET 200 https': 3, 'GET 404 https': 1 });
  seen.expectLedger({ 'connections tls': 1, 'connections tls_decoded': 1 });
});

test('a connection that ends without an answer', async ({ scope, meter, serve }) => {
  const { server } = await serve();
  const client = new PythonClient(scope, server.port, 'sync');
  await probed(meter, 4);
  const seen = await meter.during(async () => {
    expect([await client.ask('/ok'), await client.ask('/nothing')]).toEqual(['200', 'closed']);
    await client.hangUp();
  });
  seen.expectExchanges({ 'GET 200 https': 1, 'GET closed https': 1 });
});

test('processes outside of the cgroup are let alone', async ({ meter, serve }) => {
  const { server } = await serve();
  await using elsewhere = new Scope('tls-elsewhere');
  const client = new PythonClient(elsewhere, server.port, 'sync');
  const seen = await meter.during(async () => {
    for (let i = 0; i < 3; i++) await client.ask('/ok');
  });
  expect((await meter.detail())['processes read inside TLS']).toBe(3);
  await client.hangUp();
  expect(seen.requests('client')).toEqual({});
  expect(Object.values(seen.requests('server'))).toEqual([3]);
});

test('processes that come and go are read from their first request on, by the probes that are there', async ({
  scope,
  meter,
  certificate,
  serve,
}) => {
  const { server, url } = await serve();
  // one of each kind that is to come, so that their files are probed
  const first = await NodeHttps.start(scope, 'other', { serve: { certificate } });
  const waiting = new UrlClient(scope, 'curl');
  await probed(meter, 5);
  const probes = async () => (await meter.detail())['TLS probes'];
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = { probes: await probes(), descriptors: descriptors() };
  const told: Tally = {};
  const seen = await meter.during(async () => {
    for (let round = 0; round < 4; round++) {
      const anew = await NodeHttps.start(scope, 'anew', { serve: { certificate } });
      const ask = { ports: [anew.port], requests: 20, connections: 4, paths: ['/ok', '/missing'] };
      const client = await NodeHttps.start(scope, 'client', { ask });
      for (const [name, n] of Object.entries((await client.ask())[0]!)) told[name] = (told[name] ?? 0) + n;
      const curl = ['curl', '-sS', '--noproxy', '*', '--insecure', url('/busy')];
      expect((await scope.run('client', curl)).status).toBe(0);
      await Promise.all([client.end(), anew.end()]);
    }
  });
  expect(server.takeLog()).toEqual({ 'GET 503': 4 });
  const expected = Object.fromEntries(
    Object.entries(told).map(([name, n]) => [`client > anew|${name} https`, n]),
  );
  for (const role of ['client', 'server'] as const)
    expect(seen.requests(role)).toEqual({ ...expected, 'client > server|GET 503 https': 4 });
  seen.expectReconciled();
  await expect.poll(descriptors, { timeout: 60_000 }).toBe(before.descriptors);
  expect(await probes()).toBe(before.probes);
  await Promise.all([first.end(), waiting.run([url('/ok')])]);
});

test('containers that share the layer of their library', async ({ scope, meter, serve }) => {
  const { server } = await serve();
  using layer = new SharedLayer(libraryOf('curl', 'libssl'));
  const clients = layer.views.map((libraries) => new PythonClient(scope, server.port, 'sync', { libraries }));
  await probed(meter, 5);
  expect((await meter.detail())['TLS libraries probed']).toBe(3);
  const seen = await meter.during(async () => {
    for (const client of clients) for (const path of ['/ok', '/missing', '/ok']) await client.ask(path);
    await Promise.all(clients.map((client) => client.hangUp()));
  });
  seen.expectExchanges({ 'GET 200 https': 4, 'GET 404 https': 2 });
});

test('a connection that was open before: from its next request on', async ({ certificate }) => {
  await using scope = new Scope('tls-before');
  const server = await Nginx.start(scope, { tls: certificate });
  const client = new PythonClient(scope, server.port, 'sync');
  await client.ask('/ok');
  const meter = await Meter.attach(scope, { tls: true });
  await using _ = meter.agent;
  await probed(meter, 4);
  server.takeLog();
  const seen = await meter.during(async () => {
    // the first tells that the connection carries TLS
    for (const path of ['/busy', '/ok', '/missing', '/ok']) await client.ask(path);
    await client.hangUp();
  });
  server.removeFiles();
  for (const role of ['client', 'server'] as const) {
    const counted = seen.requests(role);
    expect(counted).toMatchObject({ 'client > server|GET 200 https': 2, 'client > server|GET 404 https': 1 });
    expect(seen.tcp(role)).toMatchObject({ tls: 1, tlsDecoded: 1 });
  }
  seen.expectReconciled();
});
