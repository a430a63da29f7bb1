// Single requests as the kernel tells them, against what real servers logged.
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Agent, createAgent } from '../../../src/agent.js';
import type { Flow } from '../../../src/flows/flow.js';
import { ebpf } from '../../../src/receivers/ebpf.js';
import { freePort } from '../../support/free-port.js';
import { grpcCalls, grpcServer } from '../../support/grpc.js';
import { h2load } from '../../support/load.js';
import { Nginx } from '../../support/nginx.js';
import { Scope } from '../../support/scope.js';
import { tally, Watcher } from '../../support/watch.js';

const SIDES = ['EGRESS', 'INGRESS'] as const;
const LOG = '$request_method $request_uri $status $server_protocol';

let scope: Scope;
let agent: Agent;
beforeAll(async () => {
  scope = new Scope('flows');
  agent = await createAgent({
    receivers: [ebpf({ cgroup: scope.path, flowRate: 100_000 })],
    flows: { redact: false },
  });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await scope[Symbol.asyncDispose]();
});

async function nginxWith(options: { http2?: boolean }): Promise<Nginx> {
  const nginx = await Nginx.start(scope, { ...options, log: LOG });
  onTestFinished(() => nginx.removeFiles());
  return nginx;
}

/** A flow as the server's log has it. */
function line({ l7 }: Flow): string {
  const { method, url, code, protocol } = l7!.http!;
  return `${method} ${url} ${code} ${protocol === 'HTTP/2' ? 'HTTP/2.0' : protocol}`;
}

const curl = (...args: string[]) => scope.run('client', ['curl', '-s', '-o', '/dev/null', ...args]);

describe.each([
  { protocol: 'HTTP/1.1', options: {}, streams: undefined },
  { protocol: 'HTTP/2', options: { http2: true }, streams: 10 },
])('$protocol', ({ options, streams }) => {
  test('every request is told by both sides, as the log of the server has it', async () => {
    const nginx = await nginxWith(options);
    const watcher = new Watcher(agent);
    const paths = ['/ok', '/missing', '/busy', '/files/small'].flatMap((path) =>
      Array.from({ length: 25 }, (_, i) => `${path}?n=${i}`),
    );
    const urls = [...paths.map((path) => nginx.url(path)), nginx.url('/')];
    // Not all at once: the ring holds some thousands.
    await h2load(scope, { urls, requests: 1600, connections: 8, rate: 100, ...(streams && { streams }) });
    await watcher.until(() => SIDES.every((side) => watcher.requests(side).length >= 1600));
    const truth = nginx.takeLog();
    expect(Object.keys(truth)).toHaveLength(urls.length);
    for (const side of SIDES) expect(tally(watcher.requests(side).map(line))).toEqual(truth);
    expect(watcher.lost).toBe(0);
  });

  test('both ends have their names, addresses and ports, in the order of the answer', async () => {
    const nginx = await nginxWith(options);
    const watcher = new Watcher(agent);
    await curl(...(streams ? ['--http2-prior-knowledge'] : []), nginx.url('/ok'));
    await watcher.until(() => SIDES.every((side) => watcher.requests(side).length > 0));
    for (const side of SIDES) {
      const [flow] = watcher.requests(side);
      expect(flow).toMatchObject({
        ...{ type: 'L7', verdict: 'FORWARDED', reply: true, transport: 'TCP', ipVersion: 4 },
        source: { address: '127.0.0.1', port: nginx.port, service: { name: 'server' } },
        destination: { address: '127.0.0.1', service: { name: 'client' } },
      });
      expect(flow!.l7!.latency).toBeGreaterThan(0);
      expect(Math.abs(Number(flow!.time / 1_000_000n) - Date.now())).toBeLessThan(30_000);
    }
    const [client, server] = SIDES.map((side) => watcher.requests(side)[0]!.destination.port);
    expect(client).toBe(server);
  });
});

describe('what is told of a request', () => {
  test('a method that series do not tell apart, and a body', async () => {
    const nginx = await nginxWith({});
    const watcher = new Watcher(agent);
    await curl('-X', 'PROPFIND', nginx.url('/ok'), '-d', 'x'.repeat(5000), nginx.url('/ok?second'));
    await watcher.until(() => watcher.requests('INGRESS').length >= 2);
    expect(tally(watcher.requests('INGRESS').map(line))).toEqual(nginx.takeLog());
    expect(watcher.requests('EGRESS').map((flow) => flow.l7!.http!.method)).toEqual(['PROPFIND', 'PROPFIND']);
  });

  test('its trace, wherever it is in the head', async () => {
    const nginx = await nginxWith({});
    const watcher = new Watcher(agent);
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const header = `traceparent: 00-${trace}-b7ad6b7169203331-01`;
    await curl('-H', header, '-H', 'X-Last: 1', nginx.url('/ok?1'));
    await curl('-H', 'X-First: 1', '-H', header.replace('traceparent', 'TraceParent'), nginx.url('/ok?2'));
    await curl('-H', header.replace(trace, '0'.repeat(32)), nginx.url('/ok?3'));
    await watcher.until(() => SIDES.every((side) => watcher.requests(side).length >= 3));
    for (const side of SIDES)
      expect(watcher.requests(side).map(({ traceId }) => traceId)).toEqual([trace, trace, '']);
  });

  test('of a long path the beginning, and that there is more', async () => {
    const nginx = await nginxWith({});
    const watcher = new Watcher(agent);
    const long = `/missing/${'abcdefgh/'.repeat(60)}`;
    await curl(nginx.url(long));
    await watcher.until(() => watcher.requests('EGRESS').length > 0);
    const { url } = watcher.requests('EGRESS')[0]!.l7!.http!;
    expect(url.endsWith('\u2026')).toBe(true);
    expect(url.length).toBeGreaterThan(120);
    expect(long.startsWith(url.slice(0, -1))).toBe(true);
  });

  test('why it has no answer', async () => {
    const nginx = await nginxWith({});
    const watcher = new Watcher(agent);
    await curl(nginx.url('/nothing'));
    await watcher.until(() => SIDES.every((side) => watcher.requests(side).length > 0));
    for (const side of SIDES) {
      const [flow] = watcher.requests(side);
      expect(flow).toMatchObject({ verdict: 'ERROR', l7: { http: { code: 0, url: '/nothing' } } });
      expect(flow!.summary).toMatch(/^HTTP\/1.1 closed \d+ms \(GET \/nothing\)$/);
    }
  });

  test('the status of a gRPC call, and its path, the first time and later', async () => {
    const address = await grpcServer(scope, 'grpc-js');
    const watcher = new Watcher(agent);
    const plan = [
      { method: 'Say' as const, calls: 5 },
      { method: 'Say' as const, calls: 3, code: 5 },
    ];
    await grpcCalls(scope, 'grpc-js', { address, plan });
    await watcher.until(() => SIDES.every((side) => watcher.requests(side).length >= 8));
    for (const side of SIDES)
      expect(tally(watcher.requests(side).map(({ summary }) => summary.replace(/\d+ms/, 'T')))).toEqual({
        'HTTP/2 200 T (POST /meshtap.test.Echo/Say)': 5,
        'HTTP/2 200 T NOT_FOUND (POST /meshtap.test.Echo/Say)': 3,
      });
  });
});

test('connections are told from their beginning to their end, and those that never were', async () => {
  const nginx = await nginxWith({});
  const nobody = await freePort();
  const watcher = new Watcher(agent);
  await curl(nginx.url('/ok'));
  await curl(`http://127.0.0.1:${nobody}/`);
  const told = () => watcher.flows.filter(({ type }) => type === 'L3_L4');
  await watcher.until(() => told().length >= 5);
  expect(
    tally(told().map(({ direction, verdict, summary }) => `${direction} ${verdict} ${summary}`)),
  ).toEqual({
    'EGRESS FORWARDED TCP Flags: SYN': 1,
    'INGRESS FORWARDED TCP Flags: SYN': 1,
    'EGRESS FORWARDED TCP Flags: FIN': 1,
    'INGRESS FORWARDED TCP Flags: FIN': 1,
    'EGRESS ERROR TCP connect refused': 1,
  });
  expect(told().find(({ verdict }) => verdict === 'ERROR')).toMatchObject({
    destination: { address: '127.0.0.1', port: nobody },
  });
});

test('while nobody watches nothing is told, and who comes is told what comes', async () => {
  const nginx = await nginxWith({});
  const before = agent.flows.status().seen;
  await curl(nginx.url('/ok?unseen'));
  const watcher = new Watcher(agent);
  await curl(nginx.url('/ok?seen'));
  await watcher.until(() => watcher.requests('EGRESS').length > 0);
  await watcher.stop();
  const seen = agent.flows.status().seen;
  expect(seen - before).toBe(watcher.flows.length);
  await curl(nginx.url('/ok?again'));
  const second = new Watcher(agent);
  await curl(nginx.url('/ok?last'));
  await second.until(() => second.requests('EGRESS').length > 0);
  const urls = (one: Watcher) => one.requests('EGRESS').map(({ l7 }) => l7!.http!.url);
  expect([urls(watcher), urls(second)]).toEqual([['/ok?seen'], ['/ok?last']]);
});
