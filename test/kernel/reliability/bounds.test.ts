import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ebpfFootprint } from '../../../src/receivers/ebpf.js';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { meshtap } from '../../support/cli.js';
import { type Page, Ratchet } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { askKeys, sendFromCgroups, serveKeys } from '../../support/keys.js';
import { many, TIME_SCALE } from '../../support/scale.js';
import { Scope } from '../../support/scope.js';

const PORTS = 20;
const KEYS = many(100_000);
const ROLES = ['client', 'server'] as const;
const GET = 'GET /200 HTTP/1.1\r\nHost: x\r\n\r\n';
/** Indices that are the overflow series of both sides. */
const OVERFLOW = 2;
const limits = { series: 64, pairs: 32, early: 64, lookups: 128, names: 32 };
/** What the kernel keeps of any map beside its entries, and of a hash for each CPU, bytes; in pages before Linux 5.11. */
const MAP_HEADER = 4096;

let scope: Scope;
let ports: number[];
const instance = `bounds-${process.pid}`;
const instances = [instance];

beforeAll(async () => {
  scope = new Scope('bounds');
  ({ ports } = await serveKeys(scope, { ports: PORTS }));
});

afterAll(async () => {
  for (const name of instances) await detachInstance(name);
  await scope[Symbol.asyncDispose]();
});

const ask = (keys: { from: number; to: number; times?: number }, on: readonly number[] = ports) =>
  askKeys(scope, { ports: on, ...keys });

const start = (idleAfter: string) =>
  AgentProcess.start({ cgroup: scope.path, instance, config: { limits, idleAfter } });

/** The name of an instance for one test. */
function instanceOfItsOwn(name: string): string {
  const own = `${instance}.${name}`;
  instances.push(own);
  return own;
}

const isOverflow = { otel_metric_overflow: 'true' };
const isNamed = { otel_metric_overflow: undefined };

test(`${KEYS} different series in a budget of 64: all are counted`, PATIENTLY, async (context) => {
  const agent = await start('1h');
  const ratchet = new Ratchet();
  // Known before the flood, these keep a series of their own.
  const first = { from: 0, to: 1, times: 50 };
  let sent = await ask(first);
  expect(ratchet.check(await agent.scrape())).toEqual([]);

  let flooding = true;
  const flood = ask({ from: 1, to: KEYS }).finally(() => {
    flooding = false;
  });
  while (flooding) {
    const page = await agent.scrape();
    expect(ratchet.check(page)).toEqual([]);
    expect(page.of('http_server_request_duration_seconds_count', isNamed).length).toBeLessThan(limits.series);
    await sleep(200);
  }
  sent += await flood;
  sent += await ask(first);
  expect(sent).toBe(KEYS + 99);

  const page = await agent.scrape();
  expect(ratchet.check(page)).toEqual([]);
  for (const role of ROLES) {
    const counts = `http_${role}_request_duration_seconds_count`;
    expect(page.requests(role)).toBe(sent);
    const named = page.of(counts, isNamed);
    const wrong = named.filter(({ labels, value }) => {
      const steady = labels.server_port === String(ports[0]) && labels.http_response_status_code === '200';
      return value !== (steady && labels.http_request_method === 'GET' ? 100 : 1);
    });
    expect(wrong).toEqual([]);
    expect(page.requests(role, isOverflow)).toBe(sent - page.requests(role, isNamed));
    expect(page.ledger(role, 'requests', 'seen')).toBe(sent);
    expect(page.ledger(role, 'requests', 'answered')).toBe(sent);
    expect(page.ledger(role, 'series', 'overflowed')).toBe(page.requests(role, isOverflow));
    expect(page.sum(`meshtap_tcp_${role}_connections_opened_total`)).toBe(PORTS + 2 * PORTS);
    report(context, {
      at: role,
      sent,
      counted: page.requests(role),
      explained: 0,
      lost: sent - page.requests(role),
      wrong: wrong.length,
    });
  }
  expect(page.budget('series')).toBe(limits.series - OVERFLOW);
  expect(page.budget('pairs')).toBe(limits.pairs - OVERFLOW);
});

test('memory is what was said', PATIENTLY, async () => {
  const agent = await start('1h');
  const { stdout } = await meshtap(['status', '--json']);
  const own = JSON.parse(stdout).agents.find((one: { pid: number }) => one.pid === agent.pid);
  const said = ebpfFootprint(limits);
  expect(own.receivers.ebpf.detail['bytes of maps']).toBe(said.total);

  const held: Record<string, number> = {};
  const pins = execFileSync('sh', ['-c', `ls /sys/fs/bpf/meshtap/${instance}/*/map_*`], { encoding: 'utf8' });
  for (const pin of pins.trim().split('\n')) {
    const map = JSON.parse(
      execFileSync('bpftool', ['-j', 'map', 'show', 'pinned', pin], { encoding: 'utf8' }),
    );
    // Storage of sockets is theirs, and said for each connection.
    const bytes = said.maps[map.name] ?? 0;
    expect(map.bytes_memlock, map.name).toBeLessThanOrEqual(bytes * 1.02 + MAP_HEADER);
    // Grows as it is filled.
    if (map.name !== 'prefixes') expect(map.bytes_memlock, map.name).toBeGreaterThan(bytes * 0.9);
    held[map.name] = map.bytes_memlock;
  }

  // The same by limit, before the start and in the status.
  const byLimit = {
    series: ['http_series', 'http_values', 'free_series'],
    pairs: ['pairs', 'pair_values', 'free_pairs'],
    early: ['early'],
    lookups: ['dns_series', 'dns_values', 'free_dns_series'],
    names: ['dns_names', 'free_names', 'named'],
  };
  for (const [limit, maps] of Object.entries(byLimit)) {
    const share = own.shares.find(({ what }: { what: string }) => what === limit);
    const kernel = maps.reduce((sum, name) => sum + held[name]!, 0);
    expect(share.limit).toBe(limits[limit as keyof typeof limits]);
    expect(kernel, limit).toBeGreaterThan(share.each * share.limit * 0.9);
    expect(kernel, limit).toBeLessThanOrEqual(share.each * share.limit * 1.02 + maps.length * MAP_HEADER);
  }
  const [line] = agent.running.stdout.split('\n');
  expect(line).toMatch(
    /^at most [\d.]+ [KM]iB in the kernel and [\d.]+ KiB to [\d.]+ KiB for each open connection, and /,
  );
  expect(line).toContain(
    'for 64 series, 32 pairs, 64 early segments, 128 series of lookups, 32 names and 65536 identities',
  );
  const { stdout: text } = await meshtap(['status']);
  expect(text).toMatch(/MEMORY OF +WHERE +LIMIT +EACH +AT MOST\nseries +kernel +64 /);
});

/** Scrapes until no series is left in the kernel. */
async function untilIdle(agent: AgentProcess, ratchet: Ratchet): Promise<Page> {
  for (;;) {
    const page = await agent.scrape();
    expect(ratchet.check(page)).toEqual([]);
    if (page.budget('series') === 0) return page;
    await sleep(100);
  }
}

test(
  'idle series leave room for others, and nothing of what they counted is lost',
  PATIENTLY,
  async (context) => {
    let agent = await start('200ms');
    // One name has more series here than are kept of all, so it is folded whenever it rests.
    const ratchet = new Ratchet({ mayLeave: true });
    const before = await untilIdle(agent, ratchet);
    const on = ports.slice(0, 1);
    const waves = [
      { from: 600, to: 625, times: 3 },
      { from: 625, to: 650, times: 1 },
      { from: 650, to: 675, times: 1 },
      { from: 600, to: 625, times: 5 },
      { from: 625, to: 650, times: 1 },
    ];
    let sent = 0;
    const isOverBudget = { ...isOverflow, meshtap_retired: undefined };
    const check = (page: Page) => {
      expect(ratchet.check(page)).toEqual([]);
      for (const role of ROLES) {
        const counted = page.requests(role) - before.requests(role);
        report(context, { at: role, sent, counted, explained: 0, lost: sent - counted, wrong: 0 });
        expect(page.requests(role, isOverBudget)).toBe(before.requests(role, isOverBudget));
        expect(counted).toBe(sent);
        expect(page.budget('ended_series')).toBeLessThanOrEqual(limits.series - OVERFLOW);
      }
    };
    for (const wave of waves) {
      sent += await ask(wave, on);
      check(await untilIdle(agent, ratchet));
    }

    // Nor does it matter which process saw them leave.
    await agent.kill();
    agent = await start('200ms');
    check(await agent.scrape());
    sent += await ask(waves[0]!, on);
    check(await agent.scrape());
  },
);

test('what comes back goes on under its name, whichever process saw it leave', PATIENTLY, async (context) => {
  const own = instanceOfItsOwn('returns');
  const begin = () =>
    AgentProcess.start({ cgroup: scope.path, instance: own, config: { idleAfter: '200ms' } });
  let agent = await begin();
  const ratchet = new Ratchet();
  const on = ports.slice(0, 1);
  // Twice the same keys, as many as before, fewer and more: no number tells whether a series went on.
  const times = [3, 3, 1, 5];
  const keys = 40;
  let each = 0;
  for (const [i, more] of times.entries()) {
    each += more;
    await ask({ from: 600, to: 600 + keys, times: more }, on);
    if (i === 1) await agent.scrape();
    else await untilIdle(agent, ratchet);
    if (i > 0) {
      await agent.kill();
      agent = await begin();
    }
    const page = await agent.scrape();
    expect(ratchet.check(page)).toEqual([]);
    for (const role of ROLES) {
      const values = page.of(`http_${role}_request_duration_seconds_count`).map(({ value }) => value);
      expect(values).toEqual(Array(keys).fill(each));
      const sent = keys * each;
      report(context, { at: role, sent, counted: sent, explained: 0, lost: 0, wrong: 0 });
    }
  }
});

test(
  'names that nobody has are folded into one point, and the page stays small',
  PATIENTLY,
  async (context) => {
    const own = instanceOfItsOwn('folds');
    const config = { limits, idleAfter: '200ms', foldAfter: `${500 * TIME_SCALE}ms` };
    const begin = () => AgentProcess.start({ cgroup: scope.path, instance: own, config });
    const port = (await serveKeys(scope, { service: 'names' })).ports[0]!;
    let agent = await begin();
    const ratchet = new Ratchet({ mayLeave: true });
    const counts = (role: string) => `http_${role}_request_duration_seconds_count`;
    const total = (page: Page, role: 'client' | 'server') => page.requests(role);
    let sent = 0;
    for (let round = 0; round < 4; round++) {
      const jobs = Array.from({ length: 12 }, (_, i) => ({
        name: `job-${round}-${i}`,
        requests: [GET, GET],
      }));
      sent += await sendFromCgroups(scope, port, jobs, 'removed afterwards', async (right) => {
        const page = await agent.scrape();
        expect(ratchet.check(page)).toEqual([]);
        for (const { name } of jobs) expect(page.requests('server', { source_service: name })).toBe(2);
        return right;
      });
      // Until nothing has a name any more but this round's, and then not even that.
      let page = await agent.scrape();
      const left = () =>
        page.of(counts('server'), isNamed).length + page.budget('pairs') + page.budget('ended_pairs');
      while (left() > 0) {
        await sleep(100);
        page = await agent.scrape();
        expect(ratchet.check(page)).toEqual([]);
        for (const role of ROLES) expect(total(page, role)).toBe(sent);
      }
      expect(page.of(counts('server'))).toEqual([
        {
          name: counts('server'),
          labels: { otel_metric_overflow: 'true', meshtap_retired: 'true' },
          value: sent,
        },
      ]);
      expect(page.budget('ended_series')).toBe(0);
      if (round % 2) {
        await agent.kill();
        agent = await begin();
        const after = await agent.scrape();
        expect(ratchet.check(after)).toEqual([]);
        for (const role of ROLES) expect(total(after, role)).toBe(sent);
      }
    }
    for (const role of ROLES)
      report(context, { at: role, sent, counted: sent, explained: 0, lost: 0, wrong: 0 });
  },
);

test(
  'kill -9 at any moment while idle series leave: none is lost, none doubled',
  PATIENTLY,
  async (context) => {
    const own = instanceOfItsOwn('killed');
    const config = { idleAfter: '50ms', foldAfter: '1s' };
    const begin = () => AgentProcess.start({ cgroup: scope.path, instance: own, config });
    let agent = await begin();
    let sent = 0;
    for (const moment of [0, 60, 400, 900, 1050, 1100, 1200, 1500, 2100, 2500]) {
      const times = 1 + (moment % 7);
      sent += await ask({ from: 700, to: 720, times }, ports.slice(0, 2));
      let looking = true;
      const looks = (async () => {
        while (looking) await agent.scrape().catch(() => {});
      })();
      await sleep(moment);
      await agent.kill();
      looking = false;
      await looks;
      agent = await begin();
      // At once, while things may be half done, and when they are done.
      for (const wait of [0, 1300]) {
        await sleep(wait);
        const page = await agent.scrape();
        for (const role of ROLES) expect(page.requests(role), `killed after ${moment} ms`).toBe(sent);
      }
    }
    for (const role of ROLES)
      report(context, { at: role, sent, counted: sent, explained: 0, lost: 0, wrong: 0 });
  },
);
