// Public addresses are called what the service that dials them asked for, and never what another one did.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { DnsMeter, Dnsmasq, PUBLIC, side, test as stage } from '../../support/dns.js';
import { ADDRESSES } from '../../support/netns.js';
import { Scope } from '../../support/scope.js';

const RECORDS = [
  `host-record=api.example.com,${PUBLIC.a},${PUBLIC.v6}`,
  `host-record=other.example.net,${PUBLIC.a}`,
  `host-record=third.example.org,${PUBLIC.a}`,
  'cname=www.example.org,edge.example.net',
  'cname=edge.example.net,api.example.com',
  `address=/buckets.example.com/${PUBLIC.b}`,
];

interface Fixture {
  /** Lookups (`api.example.com`, `api.example.com AAAA`) and requests (`> 203.0.113.7`) of a service, in order. */
  act(scope: Scope, service: string, steps: readonly string[]): Promise<void>;
  readonly port: number;
}

const test = stage.extend('world', { scope: 'file' }, async ({ cable }, { onCleanup }): Promise<Fixture> => {
  // Nobody watches these: their other sides are addresses.
  const outside = new Scope('dns-outside');
  const server = new Dnsmasq(outside, cable.server, RECORDS);
  onCleanup(async () => {
    server[Symbol.dispose]();
    await outside[Symbol.asyncDispose]();
  });
  await server.ready();
  const script = `
    const server = require('node:http').createServer((_, response) => response.end('here'));
    server.listen(0, '::', () => console.log(server.address().port));`;
  const web = outside.start('web', [process.execPath, '-e', script], {
    netns: cable.server,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(web.stdout!), 'line')) as [string];
  const port = Number(line);
  return {
    port,
    async act(scope, service, steps) {
      const client = `
        const { Resolver } = require('node:dns').promises;
        const { get } = require('node:http');
        const resolver = new Resolver();
        resolver.setServers(['${ADDRESSES.v4.server}']);
        const request = (host) => new Promise((resolve, reject) =>
          get({ host, port: ${port}, agent: false }, (it) => it.resume().on('close', resolve)).on('error', reject));
        (async () => {
          for (const step of ${JSON.stringify(steps)}) {
            const [first, second] = step.split(' ');
            if (first === '>') await request(second);
            else await resolver.resolve(first, second ?? 'A');
          }
        })().catch((error) => { console.error(error); process.exitCode = 1; });`;
      const { status, stderr } = await scope.run(service, [process.execPath, '-e', client], {
        netns: cable.client,
      });
      if (status !== 0) throw new Error(stderr);
    },
  };
});

/** Requests by pair of services, as the client's side has them. */
async function requests({ agent }: DnsMeter, source: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  const { requests } = await agent.snapshot();
  for (const { ends, counts } of requests) {
    if (ends.role !== 'client' || ends.source.service !== source) continue;
    const to = ends.destination.service;
    found[to] = (found[to] ?? 0) + counts.duration.count;
  }
  return found;
}

const A = `> ${PUBLIC.a}`;
const B = `> ${PUBLIC.b}`;

describe.for([
  {
    what: 'a name that was asked for',
    service: 'plain',
    steps: ['api.example.com', A, A],
    to: { 'api.example.com': 2 },
  },
  { what: 'in lower case', service: 'loud', steps: ['API.Example.COM', A], to: { 'api.example.com': 1 } },
  {
    what: 'another service, another name',
    service: 'different',
    steps: ['other.example.net', A],
    to: { 'other.example.net': 1 },
  },
  { what: 'who asked for nothing', service: 'silent', steps: [A], to: { world: 1 } },
  {
    what: 'who was told another address',
    service: 'astray',
    steps: ['api.example.com', B],
    to: { world: 1 },
  },
  {
    what: 'through aliases',
    service: 'aliased',
    steps: ['www.example.org', A],
    to: { 'www.example.org': 1 },
  },
  {
    what: 'IPv6',
    service: 'modern',
    steps: ['api.example.com AAAA', `> ${PUBLIC.v6}`],
    to: { 'api.example.com': 1 },
  },
  {
    what: 'who asked for two names of one address',
    service: 'torn',
    steps: ['api.example.com', A, 'other.example.net', A, 'third.example.org', A],
    to: { 'api.example.com': 1, ambiguous: 2 },
  },
  {
    what: 'the same name again is no other',
    service: 'faithful',
    steps: ['api.example.com', 'api.example.com', A, 'api.example.com', A],
    to: { 'api.example.com': 2 },
  },
  {
    what: 'many names below one domain',
    service: 'hoarder',
    steps: ['1', '2', '3', '4'].flatMap((n) => [`${n}.buckets.example.com`, B]),
    to: { '1.buckets.example.com': 1, '*.buckets.example.com': 3 },
  },
])('$what', ({ service, steps, to }) => {
  test('is what requests go to', async ({ scope, meter, world }) => {
    await world.act(scope, service, steps);
    await expect.poll(() => requests(meter, service)).toEqual(to);
  });
});

test('a refused connection has a name too', async ({ scope, meter, world, cable }) => {
  const script = `require('node:net').connect(1, '${PUBLIC.a}').on('error', () => {})`;
  await world.act(scope, 'refused', ['api.example.com']);
  await scope.run('refused', [process.execPath, '-e', script], { netns: cable.client });
  const { connections } = await meter.agent.snapshot();
  const refused = connections.filter(({ ends }) => ends.source.service === 'refused');
  expect(refused.map(({ ends, counts }) => [ends.destination.service, counts.refused])).toEqual([
    ['api.example.com', 1],
  ]);
});

test('names that nobody needs make room for others; without room there is none, and no wrong one', async ({
  world,
}) => {
  await using scope = new Scope('dns-few');
  const meter = await DnsMeter.attach(scope, { limits: { names: 16 } });
  await using _ = meter.agent;
  const buckets = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => `n${from + i}.buckets.example.com`);
  const used = async () => {
    const { counts } = await meter.agent.status();
    return 'failed' in counts ? undefined : counts.budgets.find(({ name }) => name === 'names')?.used;
  };
  const seen = await meter.during(async () => {
    for (let i = 0; i < 5; i++) {
      await world.act(scope, 'many', buckets(8 * i, 8));
      await expect.poll(used).toBeLessThan(16);
    }
  });
  expect(side('client', seen)).toMatchObject({ 'queries answered': 40 });
  expect(side('client', seen)).not.toHaveProperty('names overflowed');

  const beyond = await meter.during(() =>
    world.act(scope, 'one', ['n0.buckets.example.com', ...buckets(100, 30), B]),
  );
  expect(side('client', beyond)['names overflowed']).toBeGreaterThan(0);
  expect(await requests(meter, 'one')).toEqual({ world: 1 });
});

test('idle series of lookups make room for others, and what they counted stays', async ({ world, cable }) => {
  await using scope = new Scope('dns-idle');
  const meter = await DnsMeter.attach(scope, { limits: { lookups: 16 }, idleAfter: 500 });
  await using _ = meter.agent;
  const types = ['A', 'AAAA', 'TXT', 'MX', 'NS', 'SRV', 'PTR', 'CAA'];
  const script = (names: readonly string[]) => `
    const { Resolver } = require('node:dns').promises;
    const resolver = new Resolver();
    resolver.setServers(['${ADDRESSES.v4.server}']);
    (async () => {
      for (const name of ${JSON.stringify(names)})
        for (const type of ${JSON.stringify(types)}) await resolver.resolve(name, type).catch(() => {});
    })();`;
  const ask = (service: string) =>
    scope.run(service, [process.execPath, '-e', script(['api.example.com'])], { netns: cable.client });
  void world;
  const total = async () => {
    const { lookups } = await meter.agent.snapshot();
    return {
      queries: lookups.reduce((sum, { counts }) => sum + counts.queries, 0),
      answers: lookups.reduce((sum, { counts }) => sum + counts.duration.count, 0),
    };
  };
  const used = async () => {
    const { counts } = await meter.agent.status();
    return 'failed' in counts ? undefined : counts.budgets.find(({ name }) => name === 'lookups')?.used;
  };

  // Eight types, each asked and answered: two series more than there is room for.
  const first = await meter.during(() => ask('first'));
  expect(side('client', first)['lookups overflowed']).toBe(2);
  expect(await total()).toEqual({ queries: 8, answers: 8 });
  await expect.poll(used, { timeout: 30_000 }).toBe(0);
  expect(await total()).toEqual({ queries: 8, answers: 8 });
  // Of another service, in the same places.
  const second = await meter.during(() => ask('second'));
  expect(side('client', second)['queries answered']).toBe(8);
  expect(await total()).toEqual({ queries: 16, answers: 16 });
});

test('names outlive the agent, and so does what was counted', PATIENTLY, async ({ world }) => {
  await using scope = new Scope('dns-restart');
  const instance = `dns-${process.pid}`;
  const options = {
    cgroup: scope.path,
    instance,
    config: { dialects: ['otel' as const, 'hubble' as const] },
  };
  const first = await AgentProcess.start(options);
  try {
    await world.act(scope, 'shop', ['api.example.com', A]);
    const before = await first.scrape();
    const to = { source_service: 'shop', destination_service: 'api.example.com' };
    expect(before.requests('client', to)).toBe(1);
    expect(before.sum('dns_lookup_duration_seconds_count', { source_service: 'shop' })).toBe(1);
    await first.kill();
    await world.act(scope, 'shop', [A, 'api.example.com', A]);
    const second = await AgentProcess.start(options);
    const after = await second.scrape();
    expect(after.requests('client', to)).toBe(3);
    const lookups = { source_service: 'shop', dns_question_type: 'A', dns_response_code: 'NOERROR' };
    expect(after.sum('dns_lookup_duration_seconds_count', lookups)).toBe(2);
    expect(
      after.sum('hubble_dns_responses_total', {
        source_service: 'shop',
        rcode: 'No Error',
        qtypes: 'A',
        ips_returned: '1',
      }),
    ).toBe(2);
    execFileSync('promtool', ['check', 'metrics'], { input: after.text });
    await second.kill();
  } finally {
    await detachInstance(instance);
  }
});
