// TLS that is read from memory, many connections in one process: each request belongs to the connection it came on.
import { expect } from 'vitest';
import type { Seen } from '../../support/meter.js';
import { NodeHttps, type Tally } from '../../support/tls.js';
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
