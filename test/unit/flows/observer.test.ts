/** Asks the Observer by a client that has nothing in common with it: fixtures/flows/client.py. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { FlowHub } from '../../../src/flows/hub.js';
import { readLine } from '../../../src/flows/jsonpb.js';
import { getFlows } from '../../../src/flows/observer-client.js';
import { type ObserverServer, serveObserver } from '../../../src/flows/observer-server.js';
import { meshtap } from '../../support/cli.js';
import { request, response } from '../../support/flows.js';

const FIXTURES = join(import.meta.dirname, '../../fixtures/flows');
const CLIENT = join(FIXTURES, 'client.py');
const PYTHON = '/usr/bin/python3';
const log = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'meshtap-observer-'));
const socket = join(folder, 'flows.sock');
const pem = (name: string) => readFileSync(join(folder, name));

const events = readFileSync(join(FIXTURES, 'flows.jsonl'), 'utf8')
  .split('\n')
  .flatMap((line) => readLine(line) ?? []);
const flows = events.flatMap((event) => ('flow' in event ? [event.flow] : []));

let hub: FlowHub;
let server: ObserverServer;
let tls: ObserverServer;

beforeAll(async () => {
  certificates();
  hub = new FlowHub({ history: 64, redact: false });
  for (const event of events) hub.publish(event);
  const options = { hub, version: '1.2.3', log };
  server = await serveObserver({ ...options, socket });
  tls = await serveObserver({
    ...options,
    tcp: {
      host: '127.0.0.1',
      port: 0,
      tls: { cert: pem('server.pem'), key: pem('server.key'), clientCa: pem('ca.pem') },
    },
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await tls[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** An authority, and a server and a client that it vouches for; and a client that nobody does. */
function certificates(): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const self = (name: string) =>
    openssl(
      'req',
      '-x509',
      ...key,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
    );
  self('ca');
  self('stranger');
  for (const name of ['server', 'client']) {
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:relay.example'];
    openssl('req', ...key, ...subject, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
      ...['-days', '2', '-copy_extensions', 'copy', '-out', `${name}.pem`],
    );
  }
}

/** What the client prints. */
async function ask(args: readonly string[], env: Record<string, string> = {}, target = `unix:${socket}`) {
  const { stdout } = await promisify(execFile)(PYTHON, [CLIENT, target, ...args], {
    env: { ...process.env, ...env },
  }).catch((error: { stdout: string; stderr: string }) => {
    if (error.stdout === '') throw new Error(error.stderr);
    return error;
  });
  return stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

const getting = (wanted: object, ...more: string[]) => ask(['flows', JSON.stringify(wanted), ...more]);
const ids = (answers: { uuid: string }[]) => answers.map(({ uuid }) => Number(uuid.slice(-12)));
const idsOf = (fits: (flow: (typeof flows)[number]) => boolean) => ids(flows.filter(fits));

describe('GetFlows', () => {
  test('gives every flow as it was, by the numbers of its fields', async () => {
    const answers = await getting({});
    expect(answers).toHaveLength(flows.length);
    const end = (one: (typeof flows)[number]['source']) => ({
      ...{ address: one.address, port: one.port, identity: one.identity, namespace: one.namespace },
      ...{ labels: one.labels, pod: one.pod, cluster: one.cluster, names: one.names },
      workloads: one.workloads.map(({ name, kind }) => [name, kind]),
      service: [one.service?.name ?? '', one.service?.namespace ?? ''],
    });
    for (const [i, { l7, ...flow }] of flows.entries()) {
      const at = `${flow.time / 1_000_000_000n}.${String(flow.time % 1_000_000_000n).padStart(9, '0')}`;
      expect(answers[i]).toEqual({
        ...{ time: at, outer_time: at, node: flow.node, verdict: flow.verdict, uuid: flow.uuid },
        ...{ source: end(flow.source), destination: end(flow.destination), summary: flow.summary },
        type: ['UNKNOWN_TYPE', 'L3_L4', 'L7', 'SOCK'].indexOf(flow.type),
        flags: ['', 'FIN', 'SYN', 'RST', 'PSH', 'ACK'].flatMap((flag, n) =>
          flow.tcpFlags.includes(flag as 'FIN') ? [n] : [],
        ),
        direction: ['TRAFFIC_DIRECTION_UNKNOWN', 'INGRESS', 'EGRESS'].indexOf(flow.direction),
        reply: flow.reply === undefined ? null : Number(flow.reply),
        drop: flow.dropReason === 'POLICY_DENIED' ? 133 : 0,
        event: flow.event ? [flow.event.type, flow.event.subType] : null,
        trace: flow.traceId,
        ip_version: { 0: 0, 4: 1, 6: 2 }[flow.ipVersion],
        l7: l7
          ? {
              type: ['UNKNOWN_L7_TYPE', 'REQUEST', 'RESPONSE'].indexOf(l7.type),
              latency: l7.latency,
              ...{ code: l7.http?.code ?? 0, method: l7.http?.method ?? '', url: l7.http?.url ?? '' },
              ...{ protocol: l7.http?.protocol ?? '', query: l7.dns?.query ?? '' },
              headers: l7.http?.headers.map(({ key, value }) => [key, value]) ?? [],
            }
          : null,
      });
    }
  });

  test('the last and the first so many', async () => {
    expect(ids(await getting({ number: 3 }))).toEqual(idsOf(() => true).slice(-3));
    expect(ids(await getting({ number: 3, first: true }))).toEqual([1, 2, 3]);
    expect(await getting({ number: 2 ** 52 })).toHaveLength(flows.length);
  });

  test('since and until', async () => {
    const [since, until] = [1763892005, 1763892009];
    const within = idsOf(
      ({ time }) => time >= BigInt(since) * 10n ** 9n && time <= BigInt(until) * 10n ** 9n,
    );
    expect(within.length).toBe(4);
    expect(ids(await getting({ since, until }))).toEqual(within);
  });

  test.each([
    ['any of the whitelist', { whitelist: [{ source_pod: ['shop/ratings'] }, { http_method: ['put'] }] }],
    [
      'all of a filter',
      { whitelist: [{ source_pod: ['shop/'], http_status_code: ['5+'], event_type: [129] }] },
    ],
    [
      'none of the blacklist',
      { whitelist: [{ protocol: ['http'] }], blacklist: [{ verdict: ['DROPPED'] }, { reply: [1] }] },
    ],
    ['flags', { whitelist: [{ tcp_syn: [1] }] }],
    ['numbers', { whitelist: [{ source_identity: [2] }] }],
  ] as const)('%s', async (_, filters) => {
    const { compileFilters } = await import('../../../src/flows/filter.js');
    const written = JSON.parse(
      JSON.stringify(filters)
        .replace('"event_type":[129]', '"event_type":[{"type":129}]')
        .replace('[1]', '[true]')
        .replace('"tcp_syn":[true]', '"tcp_flags":[{"SYN":true}]'),
    );
    const expected = idsOf(compileFilters(written));
    expect(expected.length).toBeGreaterThan(0);
    expect(expected.length).toBeLessThan(flows.length);
    expect(ids(await getting(filters))).toEqual(expected);
  });

  test('what is no filter is an invalid argument', async () => {
    for (const filter of [
      { http_path: ['('] },
      { source_port: ['x'] },
      { cel_expression: ['true'] },
      { source_pod: [''] },
    ])
      expect(await getting({ whitelist: [filter] })).toEqual([
        { error: 'INVALID_ARGUMENT', details: expect.stringContaining(Object.keys(filter)[0]!) },
      ]);
  });

  test('follows: what was first, then what comes, and nothing else', async () => {
    const client = spawn(PYTHON, [
      CLIENT,
      `unix:${socket}`,
      'flows',
      '{"number":1,"follow":true,"whitelist":[{"http_method":["PATCH"]}]}',
      '2',
    ]);
    const answers: { uuid: string; l7: { code: number } }[] = [];
    createInterface(client.stdout).on('line', (line) => answers.push(JSON.parse(line)));
    const watchers = hub.status().watchers;
    await vi.waitFor(() => expect(hub.status().watchers).toBe(watchers + 1), 30_000);
    hub.publish(request());
    hub.publish(response({ method: 'PATCH', code: 204 }));
    hub.publish(response({ method: 'GET', code: 200 }));
    hub.publish(response({ method: 'PATCH', code: 409 }));
    await vi.waitFor(() => expect(answers.map(({ l7 }) => l7.code)).toEqual([204, 409]), 30_000);
    await vi.waitFor(() => expect(hub.status().watchers).toBe(watchers), 30_000);
  });
});

test('status, nodes, namespaces', async () => {
  const { flows: kept, limit, seen } = hub.status();
  expect(await ask(['status'])).toEqual([
    {
      ...{ flows: kept, max: limit, seen, uptime: expect.any(Number), rate: expect.any(Number) },
      ...{ nodes: 1, unavailable: 0, version: 'meshtap 1.2.3' },
    },
  ]);
  const [node] = await ask(['nodes']);
  expect(node).toMatchObject({ name: expect.stringMatching(/./), state: 1, flows: kept, max: limit, seen });
  expect(node.uptime).toBeGreaterThan(0);
  expect(await ask(['namespaces'])).toEqual(
    expect.arrayContaining([
      ['default', 'default'],
      ['prod', 'kube-system'],
      ['prod', 'shop'],
    ]),
  );
});

test('health, as hubble asks for it', async () => {
  for (const service of ['', 'hubble.server.Observer']) expect(await ask(['health', service])).toEqual([1]);
  expect(await ask(['health', 'nobody'])).toMatchObject([{ error: 'NOT_FOUND' }]);
});

test('the socket is its owner’s alone, and goes with the server', async () => {
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  const other = join(folder, 'other.sock');
  const short = await serveObserver({ hub, version: '', log, socket: other });
  await short[Symbol.asyncDispose]();
  expect(() => statSync(other)).toThrow('ENOENT');
});

describe('over TLS', () => {
  const files = (name?: string) => ({
    CA: join(folder, 'ca.pem'),
    ...(name && { CERT: join(folder, `${name}.pem`), KEY: join(folder, `${name}.key`) }),
  });
  const target = () => tls.addresses[0]!.replace('tls://', '');

  test('answers a client with a certificate', async () => {
    expect(await ask(['health', ''], files('client'), target())).toEqual([1]);
  });

  test.each([[undefined], ['stranger']])('does not answer one with %s', async (name) => {
    expect(await ask(['health', ''], files(name), target())).toMatchObject([{ error: 'UNAVAILABLE' }]);
  });

  test('meshtap observe, by its flags', async () => {
    const flags = [
      'ca-cert-files',
      'ca.pem',
      'client-cert-file',
      'client.pem',
      'client-key-file',
      'client.key',
    ];
    const files = flags.map((flag, i) => (i % 2 ? join(folder, flag) : `--tls-${flag}`));
    const observe = (...args: string[]) =>
      meshtap([
        'observe',
        '--server',
        tls.addresses[0]!,
        '--pod',
        '/ratings',
        '--last',
        '2',
        '-o',
        'json',
        ...args,
      ]);
    const { stdout, stderr } = await observe(...files, '--tls-server-name', 'relay.example');
    expect(stderr).toBe('');
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).flow.uuid),
    ).toEqual(
      flows
        .filter(({ source, destination }) => `${source.pod} ${destination.pod}`.includes('ratings'))
        .slice(-2)
        .map(({ uuid }) => uuid),
    );
    expect(await observe(...files.slice(0, 2))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('gives no flows'),
    });
    expect(await observe(...files, '--tls-server-name', 'other.example')).toMatchObject({ code: 1 });
  });

  test('our own client shows its certificate, and believes only its authority', async () => {
    const signal = AbortSignal.timeout(30_000);
    const keys = { cert: pem('client.pem'), key: pem('client.key'), serverName: 'relay.example' };
    const seen = [];
    for await (const event of getFlows({
      address: target(),
      tls: { ca: pem('ca.pem'), ...keys },
      request: { number: '2' },
      signal,
    }))
      seen.push(event);
    expect(seen).toHaveLength(2);
    const distrusting = getFlows({
      address: target(),
      tls: { ca: pem('stranger.pem'), ...keys },
      request: {},
      signal,
    });
    await expect(distrusting.next()).rejects.toMatchObject({ code: 'FLOWS_FAILED' });
  });
});

test('an address that is taken is said to be', async () => {
  await expect(serveObserver({ hub, version: '', log, socket })).rejects.toMatchObject({
    code: 'PORT_IN_USE',
  });
  expect(await ask(['health', ''])).toEqual([1]);
  const port = Number(tls.addresses[0]!.split(':').at(-1));
  await expect(
    serveObserver({ hub, version: '', log, tcp: { host: '127.0.0.1', port } }),
  ).rejects.toMatchObject({
    code: 'PORT_IN_USE',
  });
});

test('a client that does not read is told how many it missed, and delays nobody', async () => {
  const many = 50_000;
  const stop = new AbortController();
  const stalled = getFlows({ address: `unix:${socket}`, request: { follow: true }, signal: stop.signal });
  const reader = getFlows({ address: `unix:${socket}`, request: { follow: true }, signal: stop.signal });
  const watchers = hub.status().watchers;
  // Both are there once they were asked for the first flow.
  const firstOfStalled = stalled.next();
  let read = 0;
  const reading = (async () => {
    for await (const event of reader)
      read += 'flow' in event ? 1 : event && 'lost' in event ? event.lost.count : 0;
  })();
  await vi.waitFor(() => expect(hub.status().watchers).toBe(watchers + 2), 30_000);
  for (let i = 0; i < many; i++) {
    hub.publish(response({ url: `http://reviews/${'x'.repeat(200)}` }));
    if (i % 500 === 499) await new Promise((resolve) => setImmediate(resolve));
  }
  await vi.waitFor(() => expect(read).toBe(many), 60_000);
  await firstOfStalled;
  let [shown, lost] = [1, 0];
  while (shown + lost < many) {
    const { value } = await stalled.next();
    if (value && 'flow' in value) shown++;
    else if (value && 'lost' in value) lost += value.lost.count;
  }
  expect(shown + lost).toBe(many);
  expect(lost).toBeGreaterThan(0);
  stop.abort();
  await reading;
});
