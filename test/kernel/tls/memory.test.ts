// TLS that is read from memory, many connections in one process: each request belongs to the connection it came on.
import { expect } from 'vitest';
import { grpcServer, grpcTlsCalls } from '../../support/grpc.js';
import { Meter, type Seen } from '../../support/meter.js';
import { Nginx } from '../../support/nginx.js';
import { Scope } from '../../support/scope.js';
import { NodeHttps, PythonClient, relay, type Tally, UrlClient } from '../../support/tls.js';
import { probed, test } from '../../support/tls-stage.js';

const PATHS = ['/ok', '/missing', '/ok', '/busy', '/large', '/ok', '/missing'];

const sum = (tally: Tally) => Object.values(tally).reduce((total, n) => total + n, 0);

/** Both sides counted what each of the services `client` and `server` has counted itself. */
function expectTallies(seen: Seen, tallies: Readonly<Record<string, Tally>>, suffix: string) {
  const expected = Object.fromEntries(
    Object.entries(tallies).flatMap(([pair, tally]) =>
      Object.entries(tally).map(([name, n]) => [`${pair}|${name}${suffix}`, n]),
    ),
  );
  expect({ client: seen.requests('client'), server: seen.requests('server') }).toEqual({
    client: expected,
    server: expected,
  });
  seen.expectReconciled();
}

test.for([
  { http2: false, connections: 200, requests: 3000 },
  { http2: true, connections: 40, requests: 3000 },
])(
  'Node, $connections connections to 4 servers, HTTP/2: $http2',
  async ({ http2, connections, requests }, { scope, meter, certificate }) => {
    const services = ['one', 'two', 'three', 'four'];
    const servers = await Promise.all(
      services.map((service) => NodeHttps.start(scope, service, { serve: { certificate, http2 } })),
    );
    const ports = servers.map(({ port }) => port);
    const client = await NodeHttps.start(scope, 'client', {
      ask: { ports, connections, requests, http2, paths: PATHS },
    });
    await probed(meter, 5);
    let told: Tally[] = [];
    const seen = await meter.during(async () => {
      told = await client.ask();
      await client.hangUp();
    });
    expect(await Promise.all(servers.map((server) => server.takeTally()))).toEqual(told);
    expect(told.map(sum).reduce((total, n) => total + n)).toBe(requests);
    const pairs = Object.fromEntries(services.map((service, i) => [`client > ${service}`, told[i]!]));
    expectTallies(seen, pairs, `${http2 ? ' HTTP/2' : ''} https`);
    seen.expectLedger({ 'connections tls': connections, 'connections tls_decoded': connections });
    await Promise.all([client, ...servers].map((one) => one.end()));
  },
);

test('a client and a server in one process', async ({ scope, meter, certificate }) => {
  const both = await NodeHttps.start(scope, 'both', {
    serve: { certificate },
    ask: { connections: 30, requests: 500, paths: PATHS },
  });
  await probed(meter, 1);
  let told: Tally = {};
  const seen = await meter.during(async () => {
    [told = {}] = await both.ask();
    await both.hangUp();
  });
  expect(await both.takeTally()).toEqual(told);
  expectTallies(seen, { 'both > both': told }, ' https');
  seen.expectLedger({ 'connections tls': 30, 'connections tls_decoded': 30 });
  await both.end();
});

test('gRPC by grpc-js', async ({ scope, meter, certificate }) => {
  const address = await grpcServer(scope, 'grpc-js', certificate);
  const client = grpcTlsCalls(scope, {
    address,
    certificate: certificate.certificate,
    plan: [
      { method: 'Say', calls: 200 },
      { method: 'Say', calls: 20, code: 5 },
      { method: 'Watch', calls: 15, messages: 20, after: 20 },
      { method: 'Chat', calls: 10, messages: 5 },
    ],
  });
  await probed(meter, 2);
  let told: Record<string, number> = {};
  const seen = await meter.during(async () => {
    told = await client.begin();
  });
  expect(told).toEqual({ 'Say OK': 200, 'Say NOT_FOUND': 20, 'Watch OK': 15, 'Chat OK': 10 });
  seen.expectExchanges({
    'POST 200 HTTP/2 meshtap.test.Echo/Say OK https': 200,
    'POST 200 HTTP/2 meshtap.test.Echo/Say NOT_FOUND https': 20,
    'POST 200 HTTP/2 meshtap.test.Echo/Watch OK https': 15,
    'POST 200 HTTP/2 meshtap.test.Echo/Chat OK https': 10,
  });
});

test('Python with asyncio, on 100 connections, and curl, which brings its own way to the socket', async ({
  scope,
  meter,
  serve,
}) => {
  const { server, url } = await serve();
  const python = new PythonClient(scope, server.port, 'asyncio', { connections: 100 });
  const curl = new UrlClient(scope, 'curl');
  await probed(meter, 5);
  const seen = await meter.during(async () => {
    for (const path of ['/ok', '/missing', '/busy', '/ok']) await python.ask(path);
    await python.hangUp();
    await curl.run(['/ok', '/missing', '/files/large', '/ok'].map(url));
  });
  expect(server.takeLog()).toEqual({ 'GET 200': 203, 'GET 404': 101, 'GET 503': 100 });
  seen.expectExchanges({ 'GET 200 https': 203, 'GET 404 https': 101, 'GET 503 https': 100 });
  seen.expectLedger({ 'connections tls': 101, 'connections tls_decoded': 101 });
});

test('wget, which has GnuTLS', async ({ scope, meter, serve }) => {
  const { server, url } = await serve();
  const wget = new UrlClient(scope, 'wget');
  await probed(meter, 4);
  const seen = await meter.during(() =>
    wget.run(['/ok', '/missing', '/files/large', '/ok', '/files/small', '/missing'].map(url)),
  );
  expect(server.takeLog()).toEqual({ 'GET 200': 4, 'GET 404': 2 });
  seen.expectExchanges({ 'GET 200 https': 4, 'GET 404 https': 2 });
});

test('TLS that another service hands on unread', async ({ scope, meter, serve }) => {
  const { server } = await serve();
  const port = await relay(scope, 'relay', server.port);
  const client = new PythonClient(scope, port, 'asyncio', { connections: 10 });
  await probed(meter, 5);
  const seen = await meter.during(async () => {
    await client.ask('/ok');
    await client.ask('/missing');
    await client.hangUp();
  });
  expect(seen.requests('client')).toEqual({
    'client > relay|GET 200 https': 10,
    'client > relay|GET 404 https': 10,
  });
  expect(seen.requests('server')).toEqual({
    'relay > server|GET 200 https': 10,
    'relay > server|GET 404 https': 10,
  });
});

test('what may be one of two connections is not read', async ({ scope, meter, serve }) => {
  const { server } = await serve();
  // both sockets are the client's, and the same ClientHello passes either
  const port = await relay(scope, 'client', server.port);
  const client = new PythonClient(scope, port, 'asyncio');
  await probed(meter, 5);
  const seen = await meter.during(async () => {
    await client.ask('/ok');
    expect((await meter.detail())['TLS not read']).toMatch(/^python3 \(\d+\): it is not certain which /);
    await client.hangUp();
  });
  expect(seen.requests('client')).toEqual({});
  expect(seen.requests('server')).toEqual({ 'client > server|GET 200 https': 1 });
});

test('a connection that was open before is not read where the library reads from memory', async ({
  certificate,
}) => {
  await using scope = new Scope('tls-memory-before');
  const server = await Nginx.start(scope, { tls: certificate });
  const client = new PythonClient(scope, server.port, 'asyncio');
  await client.ask('/ok');
  const meter = await Meter.attach(scope, { tls: true });
  await using _ = meter.agent;
  await probed(meter, 4);
  const seen = await meter.during(async () => {
    for (const path of ['/busy', '/ok', '/missing', '/ok']) await client.ask(path);
    expect((await meter.detail())['TLS not read']).toMatch(/^python3 \(\d+\): it is not certain which /);
    await client.hangUp();
  });
  server.removeFiles();
  expect(seen.requests('client')).toEqual({});
  expect(seen.requests('server')).toMatchObject({ 'client > server|GET 200 https': 2 });
});
