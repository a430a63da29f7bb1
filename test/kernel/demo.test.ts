import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeCgroup } from '../support/cgroup.js';
import { meshtap, type Running, startMeshtap } from '../support/cli.js';

const NAMES = ['details', 'load', 'productpage', 'ratings', 'reviews'];

/** A demo in a cgroup of the test's own. */
async function demo(...args: string[]) {
  const parent = makeCgroup('demo-test');
  // What a demo leaves behind is a failure of its test only.
  onTestFinished(() => removeDemos(parent.path));
  const running = startMeshtap(['demo', '--cgroup', parent.path, '--prometheus', '127.0.0.1:0', ...args]);
  const [, address] = await running.says(/prometheus: (http:\S+)/);
  return { parent, running, address: address!, cgroup: join(parent.path, `meshtap-demo-${running.pid}`) };
}

function removeDemos(parent: string): void {
  for (const name of readdirSync(parent).filter((name) => name.startsWith('meshtap-demo-'))) {
    for (const service of NAMES) rmdirSync(join(parent, name, service));
    rmdirSync(join(parent, name));
  }
}

const processesIn = (cgroup: string) =>
  NAMES.flatMap((name) =>
    readFileSync(join(cgroup, name, 'cgroup.procs'), 'utf8')
      .trim()
      .split('\n')
      .map(Number),
  );

const isAlive = (pid: number) =>
  existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

/** Waits until it holds; the test's own time limit ends what never does. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(20);
}

function expectNothingLeft(parent: string, processes: readonly number[], { pid }: Running): void {
  expect(readdirSync(parent).filter((name) => name.startsWith('meshtap-demo-'))).toEqual([]);
  expect(processes.filter(isAlive)).toEqual([]);
  expect(existsSync(`/sys/fs/bpf/meshtap/demo-${pid}`)).toBe(false);
  expect(existsSync(`/run/meshtap/demo-${pid}-${pid}.sock`)).toBe(false);
}

/** Sums the samples of a metric by some of its labels. */
async function scrape(
  address: string,
  metric: string,
  by: readonly string[],
  where = '',
): Promise<Map<string, number>> {
  const sums = new Map<string, number>();
  const text = await (await fetch(address)).text();
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${metric}{`) || !line.includes(where)) continue;
    const label = (name: string) => new RegExp(`[{,]${name}="([^"]*)"`).exec(line)?.[1] ?? '';
    const key = by.map(label).join(' ');
    sums.set(key, (sums.get(key) ?? 0) + Number(line.slice(line.lastIndexOf(' '))));
  }
  return sums;
}

const PAIRS = ['load productpage', 'productpage details', 'productpage reviews', 'reviews ratings'];

// Each start takes seconds: the verifier reads the programs.
const timeout = 60_000 * Number(process.env.MESHTAP_TIME_SCALE ?? 1);

describe('what it shows is true', { timeout }, () => {
  test('every pair of services, failures by the schedule, in all three dialects', async () => {
    const { running, address, cgroup } = await demo('--seconds', '60');
    expect(processesIn(cgroup)).toHaveLength(5);
    for (const pair of PAIRS) {
      const [from, to] = pair.split(' ');
      await running.says(
        new RegExp(`${from} -> ${to}: [1-9][0-9.]* req/s, .* 5xx, p50 [0-9.]+ ms, p99 [0-9.]+ ms`),
      );
    }
    // Enough for every kind of answer to have come.
    const ends = ['source_service', 'destination_service'];
    const requests = () => scrape(address, 'hubble_flows_processed_total', ends, 'l7_protocol="http"');
    for (;;) {
      if (((await requests()).get('reviews ratings') ?? 0) >= 200) break;
      await sleep(200);
    }

    // One page, so that the numbers are of one moment. Request number N of a service fails if N is a multiple.
    const responses = await scrape(address, 'hubble_http_responses_total', [...ends, 'status']);
    expect([...(await requests()).keys()].sort()).toEqual(PAIRS);
    const schedule = { 'reviews ratings': [25, '503'], 'productpage reviews': [50, '500'] } as const;
    for (const [pair, [every, status]] of Object.entries(schedule)) {
      const failed = responses.get(`${pair} ${status}`) ?? 0;
      const answered = failed + (responses.get(`${pair} 200`) ?? 0);
      // Requests are answered out of order while one of them waits, so a few may be counted before an earlier one.
      expect(Math.abs(failed - answered / every)).toBeLessThanOrEqual(1 + 32 / every);
    }
    expect(
      [...responses.keys()].filter((key) => /^(load|productpage) (productpage|details) [^2]/.test(key)),
    ).toEqual([]);

    // Both sides see the same, once nothing is under way but what came between two scrapes.
    const otel = ['source_service', 'destination_service'];
    const server = await scrape(address, 'http_server_request_duration_seconds_count', otel);
    const client = await scrape(address, 'http_client_request_duration_seconds_count', otel);
    expect([...server.keys()].sort()).toEqual(PAIRS);
    for (const [pair, count] of server) expect(client.get(pair)).toBeGreaterThanOrEqual(count - 32);
    const istio = await scrape(
      address,
      'istio_requests_total',
      ['source_workload', 'destination_service_name'],
      'reporter="destination"',
    );
    expect([...istio.keys()].sort()).toEqual(PAIRS);

    const { stdout } = await meshtap(['status', '--json']);
    const { agents } = JSON.parse(stdout);
    const [agent] = agents.filter(({ pid }: { pid: number }) => pid === running.pid);
    expect(agent).toMatchObject({ cgroup, pinned: false, dialects: ['otel', 'hubble', 'istio'] });
    expect(agent.counts.ledger.length).toBeGreaterThan(0);
    await running.stop();
  });
});

describe('nothing is left behind', { timeout }, () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('by %s', async (signal) => {
    const { parent, running, cgroup } = await demo();
    const processes = processesIn(cgroup);
    const { code, stdout } = await running.stop(signal);
    expect({ code, last: stdout.trim().split('\n').at(-1) }).toEqual({
      code: 0,
      last: 'stopped; nothing is left behind',
    });
    expectNothingLeft(parent.path, processes, running);
  });

  test('by itself, when its time is over', async () => {
    const { parent, running } = await demo('--seconds', '1');
    expect((await running.ended).code).toBe(0);
    expectNothingLeft(parent.path, [], running);
  });

  test('when one of its processes crashes: which one, and exit code 1', async () => {
    const { parent, running, cgroup } = await demo();
    const processes = processesIn(cgroup);
    process.kill(Number(readFileSync(join(cgroup, 'reviews', 'cgroup.procs'), 'utf8')), 'SIGKILL');
    const { code, stderr } = await running.ended;
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'meshtap: reviews ended: SIGKILL\n' });
    expectNothingLeft(parent.path, processes, running);
  });

  test('when nobody reads any more', async () => {
    const { parent, running, cgroup } = await demo();
    const processes = processesIn(cgroup);
    running.child.stdout!.destroy();
    expect((await running.ended).code).toBe(0);
    expectNothingLeft(parent.path, processes, running);
  });

  test('by kill -9: its processes end with it, and the next demo removes the cgroups', async () => {
    const { parent, running, cgroup } = await demo();
    const processes = processesIn(cgroup);
    await running.stop('SIGKILL');
    await until(() => !processes.some(isAlive));
    expect(readdirSync(parent.path)).toContain(basename(cgroup));

    const next = startMeshtap([
      'demo',
      '--cgroup',
      parent.path,
      '--prometheus',
      '127.0.0.1:0',
      '--seconds',
      '1',
    ]);
    expect((await next.ended).code).toBe(0);
    expectNothingLeft(parent.path, processes, running);
    expectNothingLeft(parent.path, [], next);
  });
});
