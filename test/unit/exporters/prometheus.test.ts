import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import bcrypt from 'bcryptjs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type PrometheusOptions, prometheus } from '../../../src/exporters/prometheus.js';
import type { MetricFamily } from '../../../src/metrics/family.js';
import { contractFamily, testExporter } from '../../contract/exporter.js';
import { exporterContext } from '../../support/exporter-context.js';
import { samples, scrape } from '../../support/scrape.js';

testExporter('prometheus', {
  async harness() {
    let address = '';
    const exporter = prometheus({ port: 0 });
    return {
      exporter: {
        name: exporter.name,
        async start(context) {
          const running = await exporter.start(context);
          address = running.address;
          return running;
        },
      },
      async values() {
        const { body } = await vi.waitUntil(
          async () => {
            const answer = await scrape(address);
            return answer.status === 200 && answer;
          },
          { timeout: 10_000 },
        );
        return samples(body.toString(), 'contract_total', 'which');
      },
      async [Symbol.asyncDispose]() {},
    };
  },
  async broken() {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as { port: number };
    return {
      exporter: prometheus({ port }),
      code: 'PORT_IN_USE',
      async [Symbol.asyncDispose]() {
        taken.close();
      },
    };
  },
});

const one = () => [contractFamily(new Map([['it', 1]]))];
const start = (options: PrometheusOptions = {}, families: () => MetricFamily[] = one) =>
  prometheus({ port: 0, ...options }).start(exporterContext(families));

describe('negotiates', () => {
  const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
  const TEXT = 'text/plain; version=0.0.4; charset=utf-8';
  it.each([
    [undefined, TEXT],
    ['*/*', TEXT],
    ['text/html,application/xhtml+xml;q=0.9,*/*;q=0.8', TEXT],
    ['application/openmetrics-text', OPENMETRICS],
    // Prometheus 2.42 and 3.x.
    [
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      OPENMETRICS,
    ],
    [
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.1',
      OPENMETRICS,
    ],
    ['text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.2', TEXT],
    ['application/openmetrics-text;version=2.0.0', TEXT],
    ['application/openmetrics-text;q=0', TEXT],
  ])('%s gets %s', async (accept, expected) => {
    await using running = await start();
    const answer = await scrape(running.address, { headers: accept === undefined ? {} : { accept } });
    expect(answer.headers['content-type']).toBe(expected);
    expect(answer.body.toString().endsWith('# EOF\n')).toBe(expected === OPENMETRICS);
  });

  it.each([
    ['gzip', true],
    ['gzip;q=0.5, deflate', true],
    ['gzip;q=0', false],
    ['identity', false],
  ])('the encoding: %s', async (encoding, zipped) => {
    await using running = await start();
    const answer = await scrape(running.address, { headers: { 'accept-encoding': encoding } });
    expect(answer.headers['content-encoding']).toBe(zipped ? 'gzip' : undefined);
    const text = (zipped ? gunzipSync(answer.body) : answer.body).toString();
    expect(samples(text, 'contract_total', 'which').get('it')).toBe(1);
  });
});

describe('answers', () => {
  it('500 and why, if the collection fails, and describes that afterwards', async () => {
    let fails = true;
    const context = exporterContext(() => {
      if (fails) throw new Error('no counts');
      return [];
    });
    await using running = await prometheus({ port: 0 }).start(context);
    const answer = await scrape(running.address);
    expect(answer.status).toBe(500);
    expect(answer.body.toString()).toBe('collection failed: no counts\n');
    fails = false;
    await scrape(running.address);
    const points = running.families!().flatMap((family) =>
      family.type === 'histogram' ? family.points : [],
    );
    expect(points).toMatchObject([
      { count: 1, attributes: { exporter: 'prometheus', outcome: 'success' } },
      { count: 1, attributes: { exporter: 'prometheus', outcome: 'failure' } },
    ]);
  });

  it('HEAD with no body', async () => {
    await using running = await start();
    const answer = await scrape(running.address, { method: 'HEAD' });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toMatch(/^text\/plain/);
    expect(answer.body).toHaveLength(0);
  });

  it('405 to other methods and 404 to other paths', async () => {
    await using running = await start();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await scrape(running.address, { method });
      expect([answer.status, answer.headers.allow]).toEqual([405, 'GET, HEAD']);
    }
    expect((await scrape(running.address.replace('/metrics', '/other'))).status).toBe(404);
    expect((await scrape(`${running.address}?debug=1`)).status).toBe(200);
  });

  it('/healthz always, /readyz when ready', async () => {
    let ready = false;
    await using running = await prometheus({ port: 0 }).start(exporterContext(one, { ready: () => ready }));
    const status = async (path: string) => (await scrape(running.address.replace('/metrics', path))).status;
    expect([await status('/healthz'), await status('/readyz')]).toEqual([200, 503]);
    ready = true;
    expect([await status('/healthz'), await status('/readyz')]).toEqual([200, 200]);
  });

  it('others while a client reads slowly, and leaves off when it goes', async () => {
    const points = Array.from({ length: 100_000 }, (_, i) => ({
      attributes: { i, filler: 'x'.repeat(100) },
      value: i,
    }));
    const many: MetricFamily = { type: 'gauge', name: 'many', description: '', unit: '', points };
    await using running = await start({}, () => [many]);
    const { port } = new URL(running.address);
    const slow = connect(Number(port), '127.0.0.1');
    slow.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n');
    await new Promise((resolve) => slow.once('readable', resolve));
    expect((await scrape(running.address.replace('/metrics', '/healthz'))).status).toBe(200);
    slow.destroy();
    const failures = () =>
      running.families!().flatMap((family) =>
        family.type === 'histogram'
          ? family.points.filter(({ attributes }) => attributes.outcome === 'failure')
          : [],
      );
    await vi.waitUntil(() => failures()[0]?.count === 1, { timeout: 10_000 });
  });
});

describe('a web configuration file', () => {
  let directory: string;
  const inDirectory = (name: string) => join(directory, name);
  const openssl = (...flags: string[]) => execFileSync('openssl', flags, { cwd: directory, stdio: 'pipe' });
  const config = (name: string, value: unknown) => {
    // JSON is YAML.
    writeFileSync(inDirectory(name), typeof value === 'string' ? value : JSON.stringify(value));
    return inDirectory(name);
  };

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'meshtap-web-'));
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
    for (const name of ['server', 'client', 'stranger']) {
      const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`];
      openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files);
    }
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const tls = { cert_file: 'server.crt', key_file: 'server.key' };

  /** The status over TLS, with a client's certificate or without; undefined if there is none. */
  const overTls = (address: string, client?: string, more: Record<string, unknown> = {}) =>
    new Promise<number | undefined>((resolve) => {
      const identity = client
        ? {
            cert: readFileSync(inDirectory(`${client}.crt`)),
            key: readFileSync(inDirectory(`${client}.key`)),
          }
        : {};
      const trust = { ca: readFileSync(inDirectory('server.crt')), agent: false };
      httpsRequest(address, { ...trust, ...identity, ...more }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', () => resolve(undefined))
        .end();
    });

  it('asks for a user and a password', async () => {
    const users = {
      alice: bcrypt.hashSync('secret:with colon', 4),
      bob: bcrypt.hashSync('other', 4).replace('$2b$', '$2y$'),
    };
    await using running = await start({ webConfigFile: config('auth.yml', { basic_auth_users: users }) });
    const status = async (user?: string, password = '') => {
      const basic = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
      return (await scrape(running.address, { headers: user === undefined ? {} : { authorization: basic } }))
        .status;
    };
    expect(await status()).toBe(401);
    expect(await status('alice', 'secret:with colon')).toBe(200);
    expect(await status('alice', 'secret:with colon')).toBe(200);
    expect(await status('bob', 'other')).toBe(200);
    expect(await status('alice', 'other')).toBe(401);
    expect(await status('mallory', 'other')).toBe(401);
    expect(await status('toString', '')).toBe(401);
    expect(await status('', '')).toBe(401);
    const refused = await scrape(running.address.replace('/metrics', '/healthz'));
    expect([refused.status, refused.headers['www-authenticate']]).toEqual([
      401,
      expect.stringMatching(/^Basic /),
    ]);
  });

  it('sets headers', async () => {
    const headers = { 'X-Frame-Options': 'deny', 'Strict-Transport-Security': 'max-age=3600' };
    await using running = await start({
      webConfigFile: config('headers.yml', { http_server_config: { headers } }),
    });
    expect((await scrape(running.address)).headers).toMatchObject({
      'x-frame-options': 'deny',
      'strict-transport-security': 'max-age=3600',
    });
  });

  it.each([
    ['NoClientCert', [200, 200, 200]],
    ['RequestClientCert', [200, 200, 200]],
    ['RequireAnyClientCert', [undefined, 200, 200]],
    ['VerifyClientCertIfGiven', [200, undefined, 200]],
    ['RequireAndVerifyClientCert', [undefined, undefined, 200]],
  ])('speaks TLS and, with %s, knows whom it speaks to', async (client_auth_type, expected) => {
    const webConfigFile = config('tls.yml', {
      tls_server_config: { ...tls, client_auth_type, client_ca_file: 'client.crt' },
    });
    await using running = await start({ webConfigFile });
    expect(running.address).toMatch(/^https:/);
    const found = [];
    for (const client of [undefined, 'stranger', 'client'])
      found.push(await overTls(running.address, client));
    expect(found).toEqual(expected);
  });

  it('refuses old versions of TLS', async () => {
    const webConfigFile = config('tls13.yml', { tls_server_config: { ...tls, min_version: 'TLS13' } });
    await using running = await start({ webConfigFile });
    expect(await overTls(running.address, undefined, { maxVersion: 'TLSv1.2' })).toBeUndefined();
    expect(await overTls(running.address)).toBe(200);
  });

  it.each([
    ['basic_auth_user: {}', /config\.yml: the file: .*basic_auth_user/],
    ['basic_auth_users: {alice: secret}', /basic_auth_users\.alice: expected a bcrypt hash/],
    ['tls_server_config: {cert_file: server.crt}', /tls_server_config\.key_file/],
    [
      'tls_server_config: {cert_file: none.crt, key_file: server.key}',
      /tls_server_config\.cert_file: can not be read/,
    ],
    [
      'tls_server_config: {cert_file: client.crt, key_file: server.key}',
      /certificate and key can not be used/,
    ],
    ['tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: SSL3}', /min_version/],
    [
      'tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert}',
      /client_ca_file/,
    ],
    ['http_server_config: {http2: true}', /http2/],
    ['{', /can not be read as YAML/],
  ])('is refused where it is wrong: %s', async (text, message) => {
    await expect(start({ webConfigFile: config('config.yml', text) })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });
});

it('says which port is in use', async () => {
  await using running = await start();
  const { port } = new URL(running.address);
  await expect(start({ port: Number(port) })).rejects.toThrow(`127.0.0.1:${port} is in use`);
});

it('says that an address is not its own', async () => {
  await expect(start({ host: '192.0.2.1' })).rejects.toMatchObject({ code: 'EXPORT_FAILED' });
});
