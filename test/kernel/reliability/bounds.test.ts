import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ebpfMemory } from '../../../src/receivers/ebpf.js';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { meshtap } from '../../support/cli.js';
import { type Page, Ratchet } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { askKeys, serveKeys } from '../../support/keys.js';
import { many } from '../../support/scale.js';
import { Scope } from '../../support/scope.js';

const PORTS = 20;
const KEYS = many(100_000);
const ROLES = ['client', 'server'] as const;
/** Indices that are the overflow series of both sides. */
const OVERFLOW = 2;
const limits = { series: 64, pairs: 32, early: 64 };
/** What the kernel keeps of any map beside its entries, and of a hash for each CPU, bytes; in pages before Linux 5.11. */
const MAP_HEADER = 4096;

let scope: Scope;
let ports: number[];
const instance = `bounds-${process.pid}`;

beforeAll(async () => {
  scope = new Scope('bounds');
  ({ ports } = await serveKeys(scope, { ports: PORTS }));
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
});

const ask = (keys: { from: number; to: number; times?: number }, on: readonly number[] = ports) =>
  askKeys(scope, { ports: on, ...keys });

const start = (idleAfter: string) =>
  AgentProcess.start({ cgroup: scope.path, instance, config: { limits, idleAfter } });

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
  const said = ebpfMemory(limits);
  expect(own.receivers.ebpf.detail['bytes of maps']).toBe(said.total);

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
  }
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

test('idle series leave room for others, and go on when they come back', PATIENTLY, async (context) => {
  const agent = await start('200ms');
  const ratchet = new Ratchet();
  const before = await untilIdle(agent, ratchet);
  const on = ports.slice(0, 1);
  const waves = [
    { from: 600, to: 612, times: 3 },
    { from: 612, to: 624, times: 1 },
    { from: 600, to: 612, times: 2 },
  ];
  let sent = 0;
  for (const wave of waves) {
    sent += await ask(wave, on);
    await untilIdle(agent, ratchet);
  }
  const page = await agent.scrape();
  expect(ratchet.check(page)).toEqual([]);
  for (const role of ROLES) {
    const counted = page.requests(role) - before.requests(role);
    report(context, { at: role, sent, counted, explained: 0, lost: sent - counted, wrong: 0 });
    expect(page.requests(role, isOverflow)).toBe(before.requests(role, isOverflow));
    expect(counted).toBe(sent);
  }
});
