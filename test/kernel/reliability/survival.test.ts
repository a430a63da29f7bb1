import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type AgentOptions, AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { type Page, Ratchet } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { type Classes, h2load } from '../../support/load.js';
import { Nginx } from '../../support/nginx.js';
import { Line, Peer } from '../../support/raw-peer.js';
import { many, TIME_SCALE } from '../../support/scale.js';
import { Scope } from '../../support/scope.js';

const ROLES = ['client', 'server'] as const;
const root = join(import.meta.dirname, '../../..');

let scope: Scope;
let nginx: Nginx;
const instance = `survival-${process.pid}`;

beforeAll(async () => {
  scope = new Scope('survival');
  nginx = await Nginx.start(scope);
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
  nginx.removeFiles();
});

const start = (options: Partial<AgentOptions> = {}) =>
  AgentProcess.start({ cgroup: scope.path, instance, ...options });

const REQUESTS = many(24_000);

/** Six seconds of it where there is nothing else to do, and longer where all takes longer. */
const load = () =>
  h2load(scope, {
    urls: ['/ok', '/missing', '/busy'].map((path) => nginx.url(path)),
    requests: REQUESTS,
    connections: 16,
    rate: (250 * REQUESTS) / 24_000 / TIME_SCALE,
  });

const asLog = (classes: Classes) => ({
  'GET 200': classes['2xx'],
  'GET 404': classes['4xx'],
  'GET 503': classes['5xx'],
});

/** Exchanges by `GET 200` that one side counted since an earlier page. */
function counted(page: Page, role: 'client' | 'server', before: Page): Record<string, number> {
  const tally: Record<string, number> = {};
  for (const [of, sign] of [
    [page, 1],
    [before, -1],
  ] as const) {
    for (const { labels, value } of of.of(`http_${role}_request_duration_seconds_count`)) {
      const { http_request_method: method, http_response_status_code: status, error_type: error } = labels;
      const exchange = `${method} ${status ?? error}`;
      tally[exchange] = (tally[exchange] ?? 0) + sign * value;
    }
  }
  return Object.fromEntries(Object.entries(tally).filter(([, count]) => count !== 0));
}

const total = (tally: Record<string, number>) => Object.values(tally).reduce((sum, count) => sum + count, 0);

const gained = (page: Page, before: Page, ...line: ['client' | 'server', string, string]) =>
  page.ledger(...line) - before.ledger(...line);

test(
  'kill -9 under load, a pause, a restart: none is missing, none counted twice',
  PATIENTLY,
  async (context) => {
    const ratchet = new Ratchet();
    let agent = await start();
    const before = await agent.scrape();
    let running = true;
    const loading = load().finally(() => {
      running = false;
    });
    let kills = 0;
    for (const pause of [1000, 0]) {
      await sleep(700);
      expect(ratchet.check(await agent.scrape())).toEqual([]);
      await agent.kill();
      if (running) kills++;
      await sleep(pause);
      agent = await start();
      expect(ratchet.check(await agent.scrape())).toEqual([]);
    }
    const sent = asLog(await loading);
    expect(kills).toBe(2);
    expect(total(sent)).toBe(REQUESTS);
    expect(nginx.takeLog()).toEqual(sent);
    const page = await agent.scrape();
    expect(ratchet.check(page)).toEqual([]);
    for (const role of ROLES) {
      expect(counted(page, role, before)).toEqual(sent);
      expect(gained(page, before, role, 'requests', 'seen')).toBe(REQUESTS);
      expect(gained(page, before, role, 'requests', 'answered')).toBe(REQUESTS);
      report(context, { at: role, sent: REQUESTS, counted: REQUESTS, explained: 0, lost: 0, wrong: 0 });
    }
  },
);

/** A copy of the built program that brings another object: the same code in other bytes. */
function nextVersion(): string {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-next-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  cpSync(join(root, 'dist'), join(directory, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(directory, 'package.json'));
  for (const name of ['node_modules', 'proto']) symlinkSync(join(root, name), join(directory, name));
  const object = join('bpf', process.arch, 'meshtap.bpf.o');
  mkdirSync(join(directory, 'bpf', process.arch), { recursive: true });
  cpSync(join(root, object), join(directory, object));
  appendFileSync(join(directory, object), 'what follows an ELF file is not part of it');
  return join(directory, 'dist/cli/main.js');
}

test('an upgrade under load: none is missing, none counted twice', PATIENTLY, async (context) => {
  const ratchet = new Ratchet();
  let agent = await start();
  const before = await agent.scrape();
  const loading = load();
  await sleep(500);
  expect(ratchet.check(await agent.scrape())).toEqual([]);
  await agent.kill();
  agent = await start({ main: nextVersion() });
  expect(agent.running.stderr).toContain('"loaded"');
  expect(agent.running.stderr).not.toContain('"level":40');
  expect(ratchet.check(await agent.scrape())).toEqual([]);
  const sent = asLog(await loading);
  expect(nginx.takeLog()).toEqual(sent);
  const page = await agent.scrape();
  expect(ratchet.check(page)).toEqual([]);
  for (const role of ROLES) {
    expect(counted(page, role, before)).toEqual(sent);
    expect(gained(page, before, role, 'requests', 'seen')).toBe(REQUESTS);
    report(context, { at: role, sent: REQUESTS, counted: REQUESTS, explained: 0, lost: 0, wrong: 0 });
  }
});

const REQUEST = 'GET /held HTTP/1.1\r\nHost: x\r\n\r\n';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789';

test(
  'a restart that can not keep open connections accounts for what was under way',
  PATIENTLY,
  async (context) => {
    const ratchet = new Ratchet();
    let agent = await start();
    const before = await agent.scrape();
    const peers = { client: new Peer(scope, 'asker'), server: new Peer(scope, 'holder') };
    const address = await peers.server.listen();
    const lines = await Promise.all(
      Array.from({ length: 5 }, () => Line.connect(peers.client, peers.server, address)),
    );
    const [, halfAsked, asked, halfAnswered, pipelined] = lines as [Line, Line, Line, Line, Line];
    for (const { client, server } of lines) {
      await client.say(REQUEST);
      await server.say(ANSWER);
    }
    await halfAsked.client.say(REQUEST.slice(0, 20));
    await asked.client.say(REQUEST);
    await halfAnswered.client.say(REQUEST);
    await halfAnswered.server.say(ANSWER.slice(0, 40));
    await pipelined.client.say(REQUEST, REQUEST);
    expect(ratchet.check(await agent.scrape())).toEqual([]);
    await agent.kill();
    agent = await start({ config: { limits: { early: 100 } } });
    expect(agent.running.stderr).toMatch(
      /in flight on open connections.*the limit of early segments changed/,
    );
    expect(ratchet.check(await agent.scrape())).toEqual([]);

    await halfAsked.client.say(REQUEST.slice(20));
    await halfAsked.server.say(ANSWER);
    await asked.server.say(ANSWER);
    await halfAnswered.server.say(ANSWER.slice(40));
    await pipelined.server.say(ANSWER, ANSWER);
    for (const { client, server } of lines) {
      await client.say(REQUEST);
      await server.say(ANSWER);
    }
    for (const line of lines) await line.hangUp();

    const check = (page: Page, sent: number, measured: number) => {
      expect(ratchet.check(page)).toEqual([]);
      for (const role of ROLES) {
        const explained = gained(page, before, role, 'requests', 'desynchronised');
        const lost = sent - measured - explained;
        report(context, { at: role, sent, counted: measured, explained, lost, wrong: 0 });
        expect(counted(page, role, before)).toEqual({ 'GET 200': measured });
        expect(gained(page, before, role, 'requests', 'seen')).toBe(sent);
        for (const subject of ['requests', 'responses'] as const)
          expect(page.underWay(role, subject), subject).toBe(0);
      }
    };
    // Before and after, but not what was under way: five requests on four connections.
    check(await agent.scrape(), 15, 10);

    // Again and again, and with an agent that is killed when it has just replaced the first program.
    let sent = 15;
    for (const early of [200, 300, 400]) {
      const line = await Line.connect(peers.client, peers.server, address);
      await line.client.say(REQUEST);
      sent++;
      await agent.kill();
      const config = { limits: { early } };
      if (early === 300) {
        const interrupted = AgentProcess.spawn({ cgroup: scope.path, instance, config });
        await interrupted.says(/"msg":"attached /);
        await interrupted.stop('SIGKILL');
      }
      agent = await start({ config });
      const under = await agent.scrape();
      for (const role of ROLES) expect(under.underWay(role, 'requests')).toBe(0);
      await line.server.say(ANSWER);
      await line.hangUp();
      check(await agent.scrape(), sent, 10);
    }
  },
);
