// Public addresses are called what the service that dials them asked for, and never what another one did.
import { describe, expect } from 'vitest';
import { configureResolver, DnsMeter, PUBLIC, side } from '../../support/dns.js';
import { requests, test } from '../../support/dns-world.js';
import { ADDRESSES } from '../../support/netns.js';
import { Scope } from '../../support/scope.js';

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

test('over TCP', async ({ scope, meter, world, cable }) => {
  configureResolver(cable.client, 'options use-vc');
  const service = 'streaming';
  const seen = await meter.during(() =>
    world.act(scope, service, ['www.EXAMPLE.org', A, 'api.example.com AAAA', `> ${PUBLIC.v6}`, B]),
  );
  expect(side('client', seen)).toMatchObject({
    'queries answered': 2,
    'connections dns': expect.any(Number),
  });
  expect(await requests(meter, service)).toEqual({ 'www.example.org': 1, 'api.example.com': 1, world: 1 });
  // The same name is the same, whichever way it was learned; two below one domain are that domain.
  await world.act(scope, 'mixed', ['1.buckets.example.com']);
  configureResolver(cable.client);
  await world.act(scope, 'mixed', ['1.buckets.example.com', B, '2.buckets.example.com', B]);
  expect(await requests(meter, 'mixed')).toEqual({ '1.buckets.example.com': 1, '*.buckets.example.com': 1 });
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
