import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { type Page, Ratchet } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { askKeys, type Job, sendFromCgroups, serveKeys } from '../../support/keys.js';
import { ADDRESSES, Namespaces } from '../../support/netns.js';
import { Scope } from '../../support/scope.js';

const ROLES = ['client', 'server'] as const;
const GET = 'GET /200 HTTP/1.1\r\nHost: x\r\n\r\n';

let scope: Scope;
const instance = `reuse-${process.pid}`;

beforeAll(() => {
  scope = new Scope('reuse');
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
});

/** Below it is what is watched; beside it are others. */
const start = () => AgentProcess.start({ cgroup: scope.service('watched'), instance });

/** Requests by the name at one end. */
function byName(page: Page, role: 'client' | 'server', end: 'source' | 'destination', port: number) {
  const tally: Record<string, number> = {};
  for (const { labels, value } of page.of(`http_${role}_request_duration_seconds_count`, {
    server_port: String(port),
  })) {
    const name = labels[`${end}_service`]!;
    tally[name] = (tally[name] ?? 0) + value;
  }
  return tally;
}

test('an address that passes to another service with its network namespace', PATIENTLY, async (context) => {
  const agent = await start();
  const host = ADDRESSES.v4.server;
  const port = 8080;
  const sent: Record<string, number> = {};
  // Now with a scrape in between, now without.
  for (const [index, name] of ['north', 'east', 'south', 'west', 'north'].entries()) {
    const times = 100 + index;
    using namespaces = new Namespaces();
    const server = await serveKeys(scope, {
      service: `watched/${name}`,
      host,
      port,
      netns: namespaces.server,
    });
    const asker = { service: 'watched/asker', host, netns: namespaces.client };
    sent[name] = (sent[name] ?? 0) + (await askKeys(scope, { ports: [port], times }, asker));
    if (index % 2) await agent.scrape();
    await server.kill();
  }
  const page = await agent.scrape();
  for (const role of ROLES) {
    const counted = byName(page, role, 'destination', port);
    for (const [name, count] of Object.entries(sent))
      report(context, {
        at: `${role}, ${name}`,
        sent: count,
        counted: counted[name] ?? 0,
        explained: 0,
        lost: Math.max(0, count - (counted[name] ?? 0)),
        wrong: Math.max(0, (counted[name] ?? 0) - count),
      });
    expect(counted).toEqual(sent);
  }
});

test(
  'a port of this machine that passes to another service, which nobody watches',
  PATIENTLY,
  async (context) => {
    const asker = { service: 'watched/asker' };
    const first = await serveKeys(scope, { service: 'unwatched/first' });
    const { ports } = first;
    const agent = await start(); // looks who listens
    const sent = { first: await askKeys(scope, { ports, times: 100 }, asker), second: 0 };
    expect(byName(await agent.scrape(), 'client', 'destination', ports[0]!)).toEqual({ first: sent.first });
    sent.first += await askKeys(scope, { ports, times: 10 }, asker);
    await first.kill();
    await serveKeys(scope, { service: 'unwatched/second', port: ports[0]! });
    sent.second = await askKeys(scope, { ports, times: 200 }, asker);

    const counted = byName(await agent.scrape(), 'client', 'destination', ports[0]!);
    const { first: one = 0, second: two = 0, unknown = 0 } = counted;
    const wrong = Math.max(0, one - sent.first) + Math.max(0, two - sent.second);
    report(context, {
      at: 'client',
      sent: 310,
      counted: one + two - wrong,
      explained: unknown,
      lost: 0,
      wrong,
    });
    expect(one + two + unknown).toBe(310);
    expect({ counted, wrong }).toEqual({ counted, wrong: 0 });
  },
);

test('cgroups that come and go, and an agent that is killed among them', PATIENTLY, async (context) => {
  const port = (await serveKeys(scope, { service: 'watched/server' })).ports[0]!;
  const ratchet = new Ratchet();
  let agent = await start();
  // One after the other in the place of the last; how many requests it sends tells each apart.
  const jobs = Array.from(
    { length: 60 },
    (_, i): Job => ({
      name: `watched/generation-${i}`,
      requests: Array.from({ length: i + 1 }, () => GET),
    }),
  );
  for (const some of [jobs.slice(0, 20), jobs.slice(20, 40), jobs.slice(40)]) {
    await sendFromCgroups(scope, port, some, 'removed afterwards', async () => agent.scrape());
    expect(ratchet.check(await agent.scrape())).toEqual([]);
    await agent.kill();
    agent = await start();
    expect(ratchet.check(await agent.scrape())).toEqual([]);
  }
  const page = await agent.scrape();
  const sent = Object.fromEntries(jobs.map((_, i) => [`generation-${i}`, i + 1]));
  for (const role of ROLES) {
    const counted = byName(page, role, 'source', port);
    const total = 30 * 61;
    const right = Object.values(counted).reduce((sum, count) => sum + count, 0);
    report(context, { at: role, sent: total, counted: right, explained: 0, lost: total - right, wrong: 0 });
    expect(counted).toEqual(sent);
  }
});
