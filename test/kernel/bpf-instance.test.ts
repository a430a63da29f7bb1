import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/bpf/counting.js';
import { enums } from '../../src/bpf/generated/counts.js';
import {
  acquire,
  detach,
  type Instance,
  type InstanceOptions,
  listInstances,
} from '../../src/bpf/instance.js';
import { finalTotals, ledgerTotals } from '../../src/bpf/ledger.js';
import { MeshtapError } from '../../src/errors.js';
import { acquireCommand, acquireElsewhere, detachAfterwards, exited, kill } from '../support/acquire.js';
import { cgroupRoot, makeCgroup } from '../support/cgroup.js';
import { startSender } from '../support/datagrams.js';
import { compileFixture } from '../support/fixtures.js';

const { REQUESTS_SEEN, REQUESTS_ANSWERED } = enums.ledger_entry;
const BPFFS = '/sys/fs/bpf/meshtap';

let counter = 0;
/** A cgroup and the options of a pinned instance of its own; both are gone when the test is over. */
function setUp(overrides: Partial<InstanceOptions> = {}) {
  const name = `test-${process.pid}-${++counter}`;
  const cgroup = makeCgroup(name);
  const options: InstanceOptions = {
    object: compileFixture('standin'),
    cgroup: cgroup.path,
    instance: name,
    boundaries: [1_000_000n, 1_000_000_000n],
    limits: DEFAULT_LIMITS,
    stripes: 2,
    ...overrides,
  };
  detachAfterwards(name);
  return { name, cgroup, options };
}

/** Datagrams counted on their way out, by either version of the stand-in. */
function counted(instance: Instance): { first: number; second: number } {
  const ledgers = [instance.maps.get('ledgers')!, ...instance.formerLedgers].map(ledgerTotals);
  const sum = (entry: number) => Number(ledgers.reduce((total, words) => total + words[entry]!, 0n));
  return { first: sum(REQUESTS_SEEN), second: sum(REQUESTS_ANSWERED) };
}

/** Number of links to the cgroup, as bpftool counts them. */
function attached(cgroup: string): number {
  const links: { cgroup_id?: number }[] = JSON.parse(
    execFileSync('bpftool', ['-j', 'link', 'show']).toString() || '[]',
  );
  const id = statSync(cgroup).ino;
  return links.filter((link) => link.cgroup_id === id).length;
}

async function errorOf(call: () => unknown): Promise<MeshtapError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof MeshtapError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('an instance without a name', () => {
  test('counts until it is closed, and leaves nothing', async () => {
    const { options, cgroup, name } = setUp();
    const sender = startSender(cgroup.path);
    const instance = await acquire({ ...options, instance: undefined });
    expect(existsSync(join(BPFFS, name))).toBe(false);
    await sender.send(100);
    expect(counted(instance).first).toBe(100);
    instance.close();
    instance.close();
    expect(attached(cgroup.path)).toBe(0);
  });
});

describe('a pinned instance', () => {
  test('counts on without its agent, and the next one goes on with its numbers', async () => {
    const { options, cgroup } = setUp();
    const sender = startSender(cgroup.path);
    const first = await acquire(options);
    expect(first.resumed).toBe(false);
    await sender.send(10);
    first.close();
    await sender.send(20);
    using second = await acquire(options);
    expect(second).toMatchObject({ resumed: true, lost: [], startedAt: first.startedAt });
    expect(counted(second).first).toBe(30);
    expect(attached(cgroup.path)).toBe(4);
  });

  test('loses nothing when its agent is killed under load', async () => {
    const { options, cgroup } = setUp();
    const sender = startSender(cgroup.path);
    const agent = acquireElsewhere(options);
    expect(JSON.parse(await agent.said)).toMatchObject({ resumed: false });
    const load = sender.send(100_000);
    await kill(agent);
    using next = await acquire(options);
    await load;
    await sender.send(1);
    expect(next.resumed).toBe(true);
    expect(counted(next).first).toBe(100_001);
  });

  test('is upgraded to another object without a packet unseen or seen twice', async () => {
    const { options, cgroup } = setUp();
    const upgraded = { ...options, object: compileFixture('standin', 'UPGRADED') };
    const sender = startSender(cgroup.path);
    const first = await acquire(options);
    await sender.send(1);
    first.close();
    const load = sender.send(200_000);
    for (let i = 0; i < 10; i++) {
      using next = await acquire(i % 2 ? options : upgraded);
      expect(next).toMatchObject({ resumed: true, lost: [], startedAt: first.startedAt });
    }
    using last = await acquire(upgraded);
    await load;
    const before = counted(last);
    await sender.send(1);
    expect(before.first + before.second).toBe(200_001);
    expect(before.first).toBeGreaterThan(1);
    expect(counted(last)).toEqual({ first: before.first, second: before.second + 1 });
    expect(attached(cgroup.path)).toBe(4);
  });

  test.each([
    { changed: { boundaries: [1_000_000n] }, because: 'the latency boundaries changed' },
    { changed: { limits: { ...DEFAULT_LIMITS, pairs: 100 } }, because: 'the limit of pairs changed' },
    { changed: { limits: { ...DEFAULT_LIMITS, series: 100 } }, because: 'the limit of series changed' },
    { changed: { stripes: 4 }, because: 'the machine has another number of CPUs' },
  ])('starts again when $because, and says so', async ({ changed, because }) => {
    const { options, cgroup } = setUp();
    const sender = startSender(cgroup.path);
    (await acquire(options)).close();
    await sender.send(5);
    using next = await acquire({ ...options, ...changed });
    expect(next.resumed).toBe(false);
    expect(next.lost).toEqual([`All counts start again at 0, because ${because}.`]);
    await sender.send(7);
    expect(counted(next).first).toBe(7);
    expect(attached(cgroup.path)).toBe(4);
  });

  test('keeps its counts when only the state of connections has to go', async () => {
    const { options, cgroup } = setUp();
    const sender = startSender(cgroup.path);
    (await acquire(options)).close();
    await sender.send(5);
    using next = await acquire({ ...options, limits: { ...DEFAULT_LIMITS, early: 16 } });
    expect(next.resumed).toBe(true);
    expect(next.lost).toHaveLength(1);
    expect(next.lost[0]).toMatch(/in flight on open connections .* the limit of early segments changed/);
    expect(next.maps.get('early')!.maxEntries).toBe(16);
    await sender.send(7);
    expect(counted(next).first).toBe(12);
  });

  test('accounts for what was under way each time the state of connections goes', async () => {
    const { options, cgroup, name } = setUp();
    const sender = startSender(cgroup.path);
    (await acquire(options)).close();
    const { REQUESTS_DESYNCHRONISED } = enums.ledger_entry;
    // The stand-in counts each datagram as a request seen, and never says what became of it.
    for (const [i, early] of [16, 32, 48, 64].entries()) {
      await sender.send(5);
      using next = await acquire({ ...options, limits: { ...DEFAULT_LIMITS, early } });
      const former = next.formerLedgers.map(finalTotals);
      const sum = (entry: number) => Number(former.reduce((total, words) => total + words[entry]!, 0n));
      expect(sum(REQUESTS_SEEN)).toBe(5 * (i + 1));
      expect(sum(REQUESTS_DESYNCHRONISED)).toBe(5 * (i + 1));
      expect(counted(next).first).toBe(5 * (i + 1));
      // However often: those that are final become one.
      expect(next.formerLedgers.length).toBeLessThanOrEqual(2);
    }
    // What is kept as it is keeps its ledgers as well.
    const last = { ...options, limits: { ...DEFAULT_LIMITS, early: 64 } };
    using same = await acquire(last);
    expect(counted(same).first).toBe(20);
    expect(readdirSync(join(BPFFS, name, readdirSync(join(BPFFS, name))[0]!))).toEqual(
      expect.arrayContaining(['map_ledgers', 'map_ledgers_0', 'map_ledgers_1']),
    );
  });

  test('keeps bytes as long as it keeps its counts, the last ones or those before', async () => {
    const { options } = setUp();
    const first = await acquire(options);
    const memory = first.memory!;
    expect(memory.kept('history')).toBeUndefined();
    for (const length of [0, 1, 16_376, 16_377, 300_000]) {
      const bytes = Uint8Array.from({ length }, (_, i) => i % 251);
      memory.keep('history', bytes);
      expect(memory.kept('history')).toEqual(bytes);
    }
    memory.keep('other', Buffer.from('as well'));
    memory.keep('history', Buffer.from('kept'));
    first.close();
    for (const changed of [{}, { limits: { ...DEFAULT_LIMITS, early: 16 } }]) {
      using next = await acquire({ ...options, ...changed });
      expect(Buffer.from(next.memory!.kept('history')!).toString()).toBe('kept');
      expect(Buffer.from(next.memory!.kept('other')!).toString()).toBe('as well');
    }
    using fresh = await acquire({ ...options, fresh: true });
    expect(fresh.memory!.kept('history')).toBeUndefined();
  });

  test('forgets everything when it is asked to start fresh', async () => {
    const { options, cgroup } = setUp();
    const sender = startSender(cgroup.path);
    (await acquire(options)).close();
    await sender.send(5);
    using next = await acquire({ ...options, fresh: true });
    expect(next).toMatchObject({ resumed: false, lost: [] });
    expect(counted(next).first).toBe(0);
    await sender.send(3);
    expect(counted(next).first).toBe(3);
  });

  test('goes on when its cgroup was removed and made again', async () => {
    const { options, cgroup } = setUp();
    (await acquire(options)).close();
    rmdirSync(cgroup.path);
    mkdirSync(cgroup.path);
    using next = await acquire(options);
    expect(next).toMatchObject({ resumed: true, lost: [] });
    await startSender(cgroup.path).send(3);
    expect(counted(next).first).toBe(3);
  });

  test('is refused to a second agent, which may have one of another name on the same cgroup', async () => {
    const { options, cgroup, name } = setUp();
    const agent = acquireElsewhere(options);
    await agent.said;
    const error = await errorOf(() => acquire(options));
    expect(error.code).toBe('INSTANCE_BUSY');
    expect(error.message).toBe(`the instance ${name} belongs to process ${agent.pid}`);
    expect((await errorOf(() => detach({ instance: name }))).code).toBe('INSTANCE_BUSY');
    expect(listInstances().find((one) => one.name === name)).toMatchObject({
      pid: agent.pid,
      cgroup: cgroup.path,
    });

    const other = `${name}.other`;
    detachAfterwards(other);
    using second = await acquire({ ...options, instance: other });
    expect((await errorOf(() => acquire({ ...options, instance: other }))).code).toBe('INSTANCE_BUSY');
    expect(listInstances().map((one) => one.name)).toContain(other);
    await startSender(cgroup.path).send(3);
    expect(counted(second).first).toBe(3);
    expect(attached(cgroup.path)).toBe(8);
  });

  test('is ended by detach, once', async () => {
    const { options, cgroup, name } = setUp();
    (await acquire(options)).close();
    expect(attached(cgroup.path)).toBe(4);
    expect(detach({ instance: name })).toBe(true);
    expect(attached(cgroup.path)).toBe(0);
    expect(existsSync(join(BPFFS, name))).toBe(false);
    expect(detach({ instance: name })).toBe(false);
  });
});

describe('a crash', () => {
  const STEPS = [
    ...['locked', 'loaded', 'pinned the maps', 'attached ingress', 'pinned ingress'],
    ...['attached release', 'described', 'committed'],
  ];

  test.each(STEPS)('at the first start, %s, is put right by the next one', async (step) => {
    const { options, cgroup, name } = setUp();
    const agent = acquireElsewhere(options, step);
    expect(await agent.said).toBe('');
    await exited(agent);
    expect(agent.signalCode).toBe('SIGKILL');
    const sender = startSender(cgroup.path);
    await sender.send(2);
    using next = await acquire(options);
    expect(next.resumed).toBe(step === 'committed');
    await sender.send(5);
    expect(counted(next).first).toBe(next.resumed ? 7 : 5);
    expect(attached(cgroup.path)).toBe(4);
    expect(readdirSync(join(BPFFS, name))).toEqual(['1']);
  });

  test.each(STEPS)('in an upgrade, %s, loses nothing and doubles nothing', async (step) => {
    const { options, cgroup, name } = setUp();
    const upgraded = { ...options, object: compileFixture('standin', 'UPGRADED') };
    const sender = startSender(cgroup.path);
    (await acquire(options)).close();
    await sender.send(100);
    const load = sender.send(20_000);
    const agent = acquireElsewhere(upgraded, step);
    await exited(agent);
    expect(agent.signalCode).toBe('SIGKILL');
    await load;
    await sender.send(100);
    // Whichever version comes next: neither misses anything.
    for (const next of [options, upgraded]) {
      using instance = await acquire(next);
      expect(instance.resumed).toBe(true);
      await sender.send(100);
    }
    using last = await acquire(upgraded);
    const { first, second } = counted(last);
    expect(first + second).toBe(20_400);
    expect(attached(cgroup.path)).toBe(4);
    expect(readdirSync(join(BPFFS, name))).toHaveLength(1);
  });
});

describe('what can not be', () => {
  test('an object that does not load leaves nothing', async () => {
    const { options, cgroup, name } = setUp({ limits: { ...DEFAULT_LIMITS, pairs: 2 ** 31 } });
    expect((await errorOf(() => acquire(options))).message).toMatch(/refused .*standin.*/);
    expect(attached(cgroup.path)).toBe(0);
    expect(existsSync(join(BPFFS, name))).toBe(false);
  });

  test.each([
    ['/nowhere', 'there is no cgroup /nowhere'],
    ['/etc/passwd', '/etc/passwd is not a directory'],
    ['/tmp', '/tmp is not a cgroup-v2 directory'],
  ])('a cgroup that is none: %s', async (cgroup, message) => {
    const error = await errorOf(() => acquire({ ...setUp().options, cgroup }));
    expect(error.code).toBe('CGROUP_INVALID');
    expect(error.message).toBe(message);
    expect(error.hint).toContain(cgroupRoot());
  });

  /** In a mount namespace where bpffs is not mounted. */
  function withoutBpffs(options: InstanceOptions, path: string): string {
    const inside = 'umount -a -t bpf; PATH="$0" exec "$@"';
    const command = acquireCommand(options);
    const run = spawnSync('unshare', ['--mount', 'sh', '-c', inside, path, ...command], { input: '' });
    expect(run.stderr.toString()).toBe('');
    return run.stdout.toString();
  }

  test('no bpffs: it is mounted', async () => {
    const { options } = setUp();
    expect(JSON.parse(withoutBpffs(options, process.env.PATH!))).toMatchObject({ resumed: false });
  });

  test('no bpffs, and it can not be mounted', async () => {
    const { options } = setUp();
    expect(JSON.parse(withoutBpffs(options, '/nowhere'))).toMatchObject({ code: 'BPFFS_MISSING' });
  });
});
