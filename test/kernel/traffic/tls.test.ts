// Connections that carry TLS are known by their records, whatever version they speak and whenever the agent came.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Meter } from '../../support/meter.js';
import { Nginx } from '../../support/nginx.js';
import { Scope } from '../../support/scope.js';
import { Certificate, TlsClient, TlsServer, type TlsVersion } from '../../support/tls.js';
import { test as base } from '../../support/traffic.js';

const VERSIONS: readonly TlsVersion[] = ['1.2', '1.3'];

// biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern what a fixture depends on
const test = base.extend('certificate', { scope: 'file' }, async ({}, { onCleanup }) => {
  const certificate = new Certificate();
  onCleanup(() => certificate[Symbol.dispose]());
  return certificate;
});

test.for(VERSIONS)(
  'openssl, TLS %s: new and resumed sessions',
  async (version, { scope, meter, certificate }) => {
    const server = await TlsServer.start(scope, certificate, version);
    const session = join(certificate.directory, `session-${version}`);
    const seen = await meter.during(async () => {
      for (const option of ['-sess_out', '-sess_in']) {
        const client = new TlsClient(scope, server, version, [option, session]);
        const said = await client.exchange('some words');
        await client.hangUp();
        expect(existsSync(session)).toBe(true);
        expect(said.some((line) => line.startsWith('Reused, '))).toBe(option === '-sess_in');
      }
    });
    seen.expectExchanges({});
    seen.expectLedger({ 'connections tls': 2 });
    for (const role of ['client', 'server'] as const)
      expect(seen.tcp(role)).toMatchObject({ opened: 2, tls: 2, closed: 2 });
    expect(seen.tcp('client').bytesSent).toBe(seen.tcp('server').bytesReceived);
    expect(seen.tcp('client').connect).toBe(2);
  },
);

test.for(VERSIONS)('curl and nginx, TLS %s', async (version, { scope, meter, certificate }) => {
  const nginx = await Nginx.start(scope, { tls: certificate });
  const url = nginx.url('/ok').replace('http:', 'https:');
  const only = ['--tls-max', version, `--tlsv${version}`];
  const seen = await meter.during(async () => {
    const curl = ['curl', '-sS', '--noproxy', '*', '--insecure', ...only, url, url, url];
    expect(await scope.run('client', curl)).toMatchObject({ status: 0, stdout: 'finefinefine' });
  });
  expect(nginx.takeLog()).toEqual({ 'GET 200': 3 });
  nginx.removeFiles();
  seen.expectExchanges({});
  seen.expectLedger({ 'connections tls': 1 });
  for (const role of ['client', 'server'] as const)
    expect(seen.tcp(role)).toMatchObject({ opened: 1, tls: 1 });
});

test('a server that is asked in plain text, and says no in TLS', async ({ scope, meter, certificate }) => {
  const server = await TlsServer.start(scope, certificate, '1.3');
  const seen = await meter.during(async () => {
    const curl = ['curl', '-s', '--noproxy', '*', `http://127.0.0.1:${server.port}/`];
    expect((await scope.run('client', curl)).status).not.toBe(0);
  });
  seen.expectLedger({
    'connections http1': 1,
    ...(seen.ledger('client')['sync lost'] && { 'sync lost': 1 }),
  });
  expect(seen.tcp('client').tls).toBeUndefined();
});

test.for(VERSIONS)(
  'TLS %s that was open before, known by its data alone',
  async (version, { certificate }) => {
    await using scope = new Scope('tls-before');
    const server = await TlsServer.start(scope, certificate, version);
    const client = new TlsClient(scope, server, version);
    await client.exchange('before');
    const meter = await Meter.attach(scope);
    await using _ = meter.agent;
    const seen = await meter.during(async () => {
      for (const text of ['after', 'and a little more']) await client.exchange(text);
    });
    await client.hangUp();
    seen.expectLedger({ 'connections tls': 1 });
    for (const role of ['client', 'server'] as const) {
      expect(seen.tcp(role)).toMatchObject({ tls: 1 });
      expect(seen.tcp(role).opened).toBeUndefined();
    }
  },
);
