// `meshtap observe` on an agent that watches this machine's kernel, and what watching does to the agent.
import { readdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { structs } from '../../../src/bpf/generated/counts.js';
import { BpfMap } from '../../../src/bpf/map.js';
import type { ConfigInput } from '../../../src/config/schema.js';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { meshtap, type Running, startMeshtap } from '../../support/cli.js';
import { h2load } from '../../support/load.js';
import { Nginx } from '../../support/nginx.js';
import { many } from '../../support/scale.js';
import { Scope } from '../../support/scope.js';

const { on } = structs.watching.fields;

let scope: Scope;
let nginx: Nginx;
let instances = 0;
beforeAll(async () => {
  scope = new Scope('observe');
  nginx = await Nginx.start(scope, { log: '$request_method $request_uri $status' });
});
afterAll(async () => {
  await scope[Symbol.asyncDispose]();
  nginx.removeFiles();
});

async function agentWith(config: ConfigInput, pinned = false) {
  const instance = `observe-${process.pid}-${++instances}`;
  const args = pinned ? [] : ['--ephemeral'];
  if (pinned) onTestFinished(() => detachInstance(instance));
  const start = () => AgentProcess.start({ cgroup: scope.path, instance, args, config });
  const agent = await start();
  // An agent that is killed leaves it.
  onTestFinished(() => rmSync(socketOf(agent).replace('unix:', ''), { force: true }));
  return { agent, instance, start };
}

function socketOf({ running }: AgentProcess): string {
  return /"flows":\["(unix:[^"]+)"/.exec(running.stderr + running.stdout)![1]!;
}

const curl = (path: string, ...args: string[]) =>
  scope.run('client', ['curl', '-s', '-o', '/dev/null', ...args, nginx.url(path)]);

const observe = (agent: AgentProcess, ...args: string[]) => [
  ...['observe', '--server', socketOf(agent), ...args],
];

/** One who follows, and is there: it was shown a request for /ok/probe, which its filters have to let pass. */
async function following(agent: AgentProcess, ...args: string[]): Promise<Running> {
  const running = startMeshtap(observe(agent, '-f', ...args));
  while (running.stdout === '') {
    await curl('/ok/probe');
    await sleep(100);
  }
  return running;
}

/** Waits until a text is there so often. */
async function shows(running: Running, pattern: RegExp, count: number): Promise<void> {
  const end = performance.now() + 30_000;
  while ((running.stdout.match(pattern)?.length ?? 0) < count) {
    if (performance.now() > end)
      throw new Error(`not ${count} times ${pattern}:\n${running.stdout.slice(-2000)}`);
    await sleep(50);
  }
}

const linesOf = (text: string) => text.split('\n').filter(Boolean);

describe('meshtap observe', () => {
  test('each filter shows what it should, and nothing else', PATIENTLY, async () => {
    const { agent } = await agentWith({ flows: { always: true, redact: { ids: false, query: false } } });
    await curl('/ok/one');
    await curl('/ok/two', '-X', 'DELETE');
    await curl('/missing/three');
    await curl(
      '/busy/four',
      '-H',
      `traceparent: 00-${'4bf92f3577b34da6a3ce929d0e0e4736'}-00f067aa0ba902b7-01`,
    );
    await curl('/slow/large', '--max-time', '1', '--limit-rate', '1k');
    const all = ['-o', 'jsonpb', '--last', '1000'];
    const urls = async (...args: string[]) => {
      const { stdout, stderr, code } = await meshtap(observe(agent, ...all, ...args));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return linesOf(stdout).map((line) => JSON.parse(line).flow.l7?.http?.url ?? 'TCP');
    };
    let everything: string[] = [];
    // They come a moment after they happened.
    for (let i = 0; i < 200 && everything.filter((url) => url === '/slow/large').length < 2; i++) {
      await sleep(50);
      everything = await urls();
    }
    const twice = (...paths: string[]) => paths.flatMap((path) => [path, path]);
    expect(everything.filter((url) => url !== 'TCP').sort()).toEqual(
      twice('/busy/four', '/missing/three', '/ok/one', '/ok/two', '/slow/large'),
    );
    const one = async (filter: string[], ...expected: string[]) =>
      expect({ filter, urls: (await urls('--protocol', 'http', ...filter)).sort() }).toEqual({
        filter,
        urls: expected.sort(),
      });
    const served = ['/busy/four', '/missing/three', '/ok/one', '/ok/two', '/slow/large'];
    await one(['--http-status', '5+'], ...twice('/busy/four'));
    await one(['--http-status', '404'], ...twice('/missing/three'));
    await one(['--http-method', 'delete'], ...twice('/ok/two'));
    await one(['--http-path', '^/ok/'], ...twice('/ok/one', '/ok/two'));
    await one(['--verdict', 'ERROR'], ...twice('/slow/large'));
    await one(['--slower-than', '800ms'], ...twice('/slow/large'));
    await one(['--trace-id', '4bf92f3577b34da6a3ce929d0e0e4736'], ...twice('/busy/four'));
    await one(['--traffic-direction', 'ingress'], ...served);
    await one(['--from-service', 'server', '--to-service', 'client'], ...twice(...served));
    await one(['--from-service', 'client']);
    await one(
      ['--port', String(nginx.port), '--not', '--http-status', '2+'],
      ...twice('/busy/four', '/missing/three'),
    );
    await one(['--port', '1']);
    await one(['--from-ip', '127.0.0.1'], ...twice(...served));
    await one(['--ip', '10.0.0.0/8']);
    expect(await urls('--protocol', 'dns')).toEqual([]);
    const now = Date.now();
    await one(['--until', new Date(now - 600_000).toISOString()]);
    await one(['--since', '10m'], ...twice(...served));
    const tcp = linesOf((await meshtap(observe(agent, '--last', '1000', '--tcp-flags', 'SYN'))).stdout);
    expect(tcp).toHaveLength(10);
    expect(tcp[0]).toContain('(TCP Flags: SYN)');
    expect(linesOf((await meshtap(observe(agent, '--last', '3'))).stdout)).toHaveLength(3);
  });

  test(
    '-f shows what comes, as the log of the server has it, and ids and queries to nobody',
    PATIENTLY,
    async () => {
      const { agent } = await agentWith({});
      const running = await following(
        agent,
        '--traffic-direction',
        'ingress',
        '--http-path',
        '^/(ok|missing)/(n|probe)',
      );
      nginx.takeLog();
      const urls = Array.from({ length: 20 }, (_, i) => nginx.url(`${i % 4 ? '/ok' : '/missing'}/n${i}`));
      await h2load(scope, { urls, requests: 400, connections: 4, rate: 50 });
      await shows(running, /\/n\d+\)/g, 400);
      const { stdout } = await running.stop();
      const shown: Record<string, number> = {};
      for (const [, status, method, path] of stdout.matchAll(/HTTP\/1.1 (\d+) \d+ms \((\S+) (\S+\/n\d+)\)/g))
        shown[`${method} ${path} ${status}`] = (shown[`${method} ${path} ${status}`] ?? 0) + 1;
      expect(shown).toEqual(nginx.takeLog());
      const secret = await following(agent, '--http-path', '^/ok/(user|probe)');
      await curl('/ok/user/4711?token=secret');
      await shows(secret, /\/ok\/user\/\{id\}/g, 2);
      expect((await secret.stop()).stdout).not.toMatch(/4711|secret/);
    },
  );

  test('says that nothing was kept, to who does not follow', PATIENTLY, async () => {
    const { agent } = await agentWith({});
    await curl('/ok');
    const { code, stdout, stderr } = await meshtap(observe(agent));
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toContain('--follow');
  });
});

describe('an agent that is watched', () => {
  test(
    'counts exactly with ten watchers under full load, who are shown some and told of the rest',
    PATIENTLY,
    async () => {
      const { agent } = await agentWith({ limits: { flows: 100 } });
      const requests = many(10_000);
      await curl('/ok/before');
      const watchers = await Promise.all(Array.from({ length: 10 }, () => following(agent, '-o', 'jsonpb')));
      await sleep(1000);
      const before = await settled(agent);
      const figures = await h2load(scope, { urls: [nginx.url('/ok/load')], requests, connections: 16 });
      expect(figures['2xx']).toBe(requests);
      const after = await settled(agent);
      expect(after.requests - before.requests).toBe(2 * requests);
      const told = after.shown + after.lost - before.shown - before.lost;
      // Each request from both sides, and both ends of each connection from both.
      expect(told).toBe(2 * requests + 2 * 2 * 16);
      expect(after.lost - before.lost).toBeGreaterThan(requests / 2);
      for (const watcher of watchers) {
        const sum = () => {
          const lines = linesOf(watcher.stdout.slice(0, watcher.stdout.lastIndexOf('\n') + 1)).map(
            (line) => JSON.parse(line) as { flow?: object; lost_events?: { num_events_lost: string } },
          );
          const lost = lines.reduce(
            (total, line) => total + Number(line.lost_events?.num_events_lost ?? 0),
            0,
          );
          return { load: lines.filter((line) => JSON.stringify(line).includes('/ok/load')).length, lost };
        };
        const end = performance.now() + 60_000;
        while (sum().lost < after.lost - before.lost && performance.now() < end) await sleep(200);
        expect(sum().lost).toBeGreaterThanOrEqual(after.lost - before.lost);
        expect(sum().load).toBeGreaterThan(0);
        await watcher.stop();
      }
    },
  );

  test('switches the kernel off with the last watcher, however that one ends', PATIENTLY, async () => {
    const { agent, instance } = await agentWith({}, true);
    using map = BpfMap.open(pinOf(instance));
    expect(isOn(map)).toBe(false);
    const first = await following(agent);
    const second = await following(agent);
    expect(isOn(map)).toBe(true);
    await first.stop('SIGKILL');
    await second.stop();
    await until(() => !isOn(map));
  });

  test('that is killed leaves nothing on for longer than until the next one starts', PATIENTLY, async () => {
    const { agent, instance, start } = await agentWith({}, true);
    await following(agent);
    await agent.kill();
    using map = BpfMap.open(pinOf(instance));
    expect(isOn(map)).toBe(true);
    const next = await start();
    expect(isOn(map)).toBe(false);
    const running = await following(next);
    expect(isOn(map)).toBe(true);
    await next.running.stop();
    expect(isOn(map)).toBe(false);
    await running.ended;
  });
});

/** The pin of the map that says whether somebody watches. */
function pinOf(instance: string): string {
  const directory = `/sys/fs/bpf/meshtap/${instance}`;
  const [generation] = readdirSync(directory).filter((name) => /^\d+$/.test(name));
  return `${directory}/${generation}/map_watching`;
}

function isOn(map: BpfMap): boolean {
  const value = new Uint8Array(map.valueSize);
  map.lookup(new Uint32Array(1), value);
  return new DataView(value.buffer).getUint32(on.offset, true) !== 0;
}

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come');
    await sleep(20);
  }
}

interface Figures {
  readonly requests: number;
  readonly shown: number;
  readonly lost: number;
}

/** What the agent counted when nothing changed any more. */
async function settled(agent: AgentProcess): Promise<Figures> {
  let last = await figuresOf(agent);
  for (;;) {
    await sleep(500);
    const next = await figuresOf(agent);
    if (JSON.stringify(next) === JSON.stringify(last)) return next;
    last = next;
  }
}

async function figuresOf(agent: AgentProcess): Promise<Figures> {
  const page = await agent.scrape();
  const ledger = (outcome: string) => page.sum('meshtap_ledger_entries_total', { subject: 'flows', outcome });
  return {
    requests: page.requests('client') + page.requests('server'),
    shown: ledger('seen'),
    lost: ledger('lost'),
  };
}
