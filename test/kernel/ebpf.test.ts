import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS, FIRST_INDEX } from '../../src/bpf/counting.js';
import { acquire, type Instance, type InstanceOptions } from '../../src/bpf/instance.js';
import type { BpfMap } from '../../src/bpf/map.js';
import { shippedObject } from '../../src/bpf/object.js';
import type { Counts, HttpCounts, Role } from '../../src/receivers/counts.js';
import { type EbpfOptions, ebpf, ebpfFootprint } from '../../src/receivers/ebpf.js';
import { Sweeper } from '../../src/receivers/ebpf-sweep.js';
import { testReceiver } from '../contract/receiver.js';
import { acquireElsewhere, detachAfterwards, kill } from '../support/acquire.js';
import { temporaryDirectory } from '../support/bpf.js';
import { cgroupRoot, makeCgroup } from '../support/cgroup.js';
import { startExchange } from '../support/exchange.js';

const ROLES = ['client', 'server'] as const;

let counter = 0;
const unique = () => `ebpf-${process.pid}-${++counter}`;

const start = (options: EbpfOptions) =>
  ebpf(options).start({
    log: pino({ level: 'silent' }),
    boundaries: [0.001, 1],
    signal: new AbortController().signal,
  });

/** `GET 200` and the like, with how often. */
function exchanges({ http }: Pick<Counts, 'http'>, role: Role): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { pair, method, status, duration } of http) {
    if (pair.role !== role) continue;
    const name = `${method} ${status}`;
    sums[name] = (sums[name] ?? 0) + duration.count;
  }
  return sums;
}

const ledgerOf = ({ ledger }: Counts, role: Role, subject: string, outcome: string): number =>
  ledger.find((line) => line.role === role && line.subject === subject && line.outcome === outcome)!.count;

describe('ebpf', () => {
  test('counts both sides of each exchange in the cgroup', async () => {
    const cgroup = makeCgroup(unique());
    await using receiver = await start({ cgroup: cgroup.path });
    await using peer = await startExchange(cgroup.path);
    await peer.request('GET', 200, 50);
    await peer.request('POST', 503, 7);
    const counts = await receiver.collect();
    for (const role of ['client', 'server'] as const) {
      expect(exchanges(counts, role)).toEqual({ 'GET 200': 50, 'POST 503': 7 });
      expect(ledgerOf(counts, role, 'requests', 'seen')).toBe(57);
      expect(ledgerOf(counts, role, 'requests', 'answered')).toBe(57);
      const pair = counts.http.find((series) => series.pair.role === role)!.pair;
      const end = { kind: 'cgroup', cgroup: cgroup.id };
      expect(pair).toEqual({ role, local: end, remote: end, port: peer.port, overflow: false });
    }
    expect(counts.budgets.slice(0, 2)).toEqual([
      { name: 'pairs', used: 2, limit: DEFAULT_LIMITS.pairs - FIRST_INDEX },
      { name: 'series', used: 4, limit: DEFAULT_LIMITS.series - FIRST_INDEX },
    ]);
  });

  test('goes on with its counts when the agent is another process', async () => {
    const cgroup = makeCgroup(unique());
    const instance = unique();
    detachAfterwards(instance);
    await using peer = await startExchange(cgroup.path);
    const first = await start({ cgroup: cgroup.path, instance });
    await peer.request('GET', 200, 10);
    const { startedAt } = await first.collect();
    await first[Symbol.asyncDispose]();
    await peer.request('GET', 200, 20);
    await using second = await start({ cgroup: cgroup.path, instance });
    await peer.request('GET', 200, 30);
    const counts = await second.collect();
    expect(exchanges(counts, 'server')).toEqual({ 'GET 200': 60 });
    expect(exchanges(counts, 'client')).toEqual({ 'GET 200': 60 });
    expect(counts.startedAt).toBe(startedAt);
  });

  test('lets idle series go when they are kept elsewhere, and begins at 0 when they come back', async () => {
    const cgroup = makeCgroup(unique());
    await using receiver = await start({ cgroup: cgroup.path, idleAfter: 200 });
    await using peer = await startExchange(cgroup.path);
    await peer.request('GET', 200, 5);
    await peer.request('GET', 404, 3);
    const used = ({ budgets }: Counts) => budgets.slice(0, 2).map((budget) => budget.used);
    expect(used(await receiver.collect())).toEqual([2, 4]);
    // Only one of the two goes on; the connection stays open all the time.
    const isFinal = ({ ending }: HttpCounts) => ending?.final === true;
    let counts = await receiver.collect();
    let sent = 5;
    while (!counts.http.some(isFinal)) {
      await peer.request('GET', 200, 1);
      sent++;
      await setTimeout(20);
      counts = await receiver.collect();
    }
    // Nobody has said that it is kept: it stays.
    await setTimeout(300);
    counts = await receiver.collect();
    expect(used(counts)).toEqual([2, 4]);
    const ended = counts.http.filter(isFinal);
    const both = (http: readonly HttpCounts[]) => ROLES.map((role) => exchanges({ http }, role));
    for (const it of both(counts.http)) expect(it).toEqual({ 'GET 200': sent, 'GET 404': 3 });
    receiver.release!(new Set(ended.map(({ ending }) => ending!.token)));
    await peer.request('GET', 404, 1);
    await peer.request('GET', 200, 1);
    counts = await receiver.collect();
    const left = both(ended);
    for (const [i, now] of both(counts.http).entries()) {
      expect((now['GET 404'] ?? 0) + (left[i]!['GET 404'] ?? 0)).toBe(4);
      expect((now['GET 200'] ?? 0) + (left[i]!['GET 200'] ?? 0)).toBe(sent + 1);
    }
  });

  test('counts in one series per side what exceeds the budget, and says so', async () => {
    const cgroup = makeCgroup(unique());
    await using receiver = await start({ cgroup: cgroup.path, limits: { series: FIRST_INDEX + 2 } });
    await using peer = await startExchange(cgroup.path);
    await peer.request('GET', 200, 5);
    for (const status of [201, 202, 203]) await peer.request('GET', status, 2);
    const counts = await receiver.collect();
    for (const role of ['client', 'server'] as const) {
      const own = counts.http.filter(({ pair }) => pair.role === role);
      const total = (some: HttpCounts[]) => some.reduce((sum, { duration }) => sum + duration.count, 0);
      expect(total(own)).toBe(11);
      expect(total(own.filter(({ overflow }) => overflow))).toBe(6);
      expect(ledgerOf(counts, role, 'series', 'overflowed')).toBe(6);
    }
    expect(receiver.status()).toMatchObject({ state: 'degraded', reason: 'the limit of series was reached' });
  });

  test('takes the memory it says', async () => {
    const cgroup = makeCgroup(unique());
    const limits = { pairs: 500, series: 3000, early: 200, lookups: 300, names: 100, routes: 64 };
    using instance = await acquire({
      object: shippedObject('meshtap'),
      cgroup: cgroup.path,
      boundaries: [1n],
      limits,
      stripes: 2,
    });
    // The kernel's own account; a map that grows as it is filled has hardly any yet.
    let held = 0;
    for (const [name, map] of instance.maps) {
      const text = readFileSync(`/proc/self/fdinfo/${map.fd}`, 'utf8');
      if (name !== 'prefixes') held += Number(/^memlock:\s*(\d+)/m.exec(text)![1]);
    }
    const { total, maps } = ebpfFootprint(limits);
    const said = total - maps.prefixes!;
    expect(held).toBeGreaterThan(said * 0.8);
    expect(held).toBeLessThan(said * 1.2);
  });
});

describe('a pinned instance', () => {
  const boundaries = [1_000_000n, 1_000_000_000n];

  function setUp() {
    const cgroup = makeCgroup(unique());
    const instance = unique();
    detachAfterwards(instance);
    const object = shippedObject('meshtap');
    return { object, cgroup: cgroup.path, instance, boundaries, limits: DEFAULT_LIMITS, stripes: 2 };
  }

  /** A receiver on an instance that goes on. */
  async function takeOver(options: InstanceOptions, taken?: Instance) {
    const instance = taken ?? (await acquire(options));
    expect(instance).toMatchObject({ resumed: true, lost: [] });
    const footprint = ebpfFootprint(options.limits);
    return new Sweeper(instance, { ...options, idleAfter: 3_600_000, footprint });
  }

  test('misses no exchange when its agent is killed, and counts none twice', async () => {
    const options = setUp();
    await using peer = await startExchange(options.cgroup);
    const agent = acquireElsewhere(options);
    await agent.said;
    const load = peer.request('GET', 200, 3000);
    await kill(agent);
    await using receiver = await takeOver(options);
    await load;
    const counts = await receiver.collect();
    expect(exchanges(counts, 'server')).toEqual({ 'GET 200': 3000 });
    expect(exchanges(counts, 'client')).toEqual({ 'GET 200': 3000 });
  });

  test('is upgraded in the middle of open connections without missing an exchange', async () => {
    const options = setUp();
    // Another object, of the same programs: a file may be longer than its sections.
    const other = join(temporaryDirectory(), 'other.bpf.o');
    writeFileSync(other, Buffer.concat([readFileSync(options.object), Buffer.from('\n')]));
    (await acquire(options)).close();
    await using peer = await startExchange(options.cgroup);
    let exchanged = 0;
    let upgrading = true;
    const load = (async () => {
      while (upgrading) {
        await peer.request('GET', 200, 100);
        exchanged += 100;
      }
    })();
    await using receiver = await takeOver({ ...options, object: other });
    upgrading = false;
    await load;
    const counts = await receiver.collect();
    for (const role of ['client', 'server'] as const) {
      expect(exchanges(counts, role)).toEqual({ 'GET 200': exchanged });
      expect(ledgerOf(counts, role, 'sync', 'lost')).toBe(0);
    }
  });

  test('goes on with what a killed agent was giving up', async () => {
    const options = { ...setUp(), idleAfter: 100 };
    await using peer = await startExchange(options.cgroup);
    const sweeper = async () =>
      new Sweeper(await acquire(options), { ...options, footprint: ebpfFootprint(options.limits) });
    const first = await sweeper();
    await peer.request('GET', 200, 10);
    let counts = await first.collect();
    while (!counts.http.every(({ ending }) => ending)) {
      await setTimeout(50);
      counts = await first.collect();
    }
    // As it is when an agent is killed: keys are deleted, values and the list of what leaves are there.
    const tokens = counts.http.map(({ ending }) => ending!.token);
    await first[Symbol.asyncDispose]();
    await using second = await sweeper();
    counts = await second.collect();
    expect(counts.http.map(({ ending }) => ending!.token).sort()).toEqual(tokens.sort());
    for (const role of ROLES) expect(exchanges(counts, role)).toEqual({ 'GET 200': 10 });
    while (!counts.http.every(({ ending }) => ending!.final)) {
      await setTimeout(50);
      counts = await second.collect();
    }
    second.release(new Set(tokens));
    counts = await second.collect();
    expect(counts.http).toEqual([]);
  });

  test('takes back the indices that a killed agent had neither in use nor free', async () => {
    const options = setUp();
    (await acquire(options)).close();
    const instance = await acquire(options);
    const [values, free] = ['http_values', 'free_series'].map((name) => instance.maps.get(name)!) as [
      BpfMap,
      BpfMap,
    ];
    // As agents leave them that end between two system calls: taken out of the queue, with values and without.
    const lost = [0, 1].map(() => {
      const index = new Uint32Array(1);
      expect(free.pop(index)).toBe(true);
      return index[0]!;
    });
    const place = new Uint32Array([lost[0]! * options.stripes]);
    const value = new Uint8Array(values.valueSize).fill(1);
    values.update(place, value);

    await using receiver = await takeOver(options, instance);
    const left = () => {
      const all = new Set<number>();
      const index = new Uint32Array(1);
      while (free.pop(index)) all.add(index[0]!);
      for (const it of all) free.push(new Uint32Array([it]));
      return all;
    };
    await receiver.collect();
    while (!lost.every((index) => left().has(index))) {
      await setTimeout(100);
      await receiver.collect();
    }
    expect(left().size).toBe(options.limits.series - FIRST_INDEX);
    values.lookup(place, value);
    expect(value.every((byte) => byte === 0)).toBe(true);
  });
});

describe('prefixes', () => {
  test('fold addresses from the next request on, on open connections too', async () => {
    const cgroup = makeCgroup(unique());
    await using receiver = await start({ cgroup: cgroup.path });
    await using peer = await startExchange(cgroup.path);
    // This process is outside the cgroup, and keeps its connection.
    const request = async (times: number) => {
      for (let i = 0; i < times; i++) await (await fetch(`http://127.0.0.1:${peer.port}/200`)).text();
    };
    const byPeer = async () => {
      const { http } = await receiver.collect();
      return http.map(({ pair, duration }) => [pair.remote, duration.count]);
    };
    const byAddress = { kind: 'address', address: '127.0.0.1' };
    await request(1);
    expect(await byPeer()).toEqual([[byAddress, 1]]);

    receiver.setPrefixes([
      { cidr: '0.0.0.0/0', id: 'world' },
      { cidr: '127.0.0.0/8', id: 4711 },
    ]);
    await request(2);
    const folded = { kind: 'prefix', id: 4711 };
    expect(await byPeer()).toEqual([
      [byAddress, 1],
      [folded, 2],
    ]);

    receiver.setPrefixes([{ cidr: '0.0.0.0/0', id: 'world' }]);
    await request(3);
    expect(await byPeer()).toEqual([
      [byAddress, 1],
      [folded, 2],
      [{ kind: 'world' }, 3],
    ]);

    receiver.setPrefixes([
      { cidr: '0.0.0.0/0', id: 'world' },
      { cidr: '127.0.0.1', id: 'address' },
    ]);
    await request(4);
    expect((await byPeer())[0]).toEqual([byAddress, 5]);
  });

  test('more than there is room for are refused', async () => {
    const cgroup = makeCgroup(unique());
    await using receiver = await start({ cgroup: cgroup.path });
    const many = Array.from({ length: 16_385 }, (_, i) => ({ cidr: `10.${i >> 8}.${i & 255}.0/24`, id: 16 }));
    expect(() => receiver.setPrefixes(many)).toThrow(/prefixes/);
  });
});

describe('the contract', () => {
  const path = join(cgroupRoot(), `meshtap-${unique()}`);
  let peer: Awaited<ReturnType<typeof startExchange>>;
  beforeAll(async () => {
    mkdirSync(path);
    peer = await startExchange(path);
  });
  afterAll(async () => {
    await peer[Symbol.asyncDispose]();
    rmdirSync(path);
  });
  testReceiver('ebpf', {
    create: () => ebpf({ cgroup: path }),
    traffic: () => peer.request('GET', 200, 3),
  });
});
