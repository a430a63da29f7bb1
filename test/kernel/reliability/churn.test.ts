import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { attachedTo, entriesOf } from '../../support/bpftool.js';
import { Ratchet } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { sendFromCgroups, serveKeys } from '../../support/keys.js';
import { ab } from '../../support/load.js';
import { Nginx } from '../../support/nginx.js';
import { many } from '../../support/scale.js';
import { Scope } from '../../support/scope.js';

const ROLES = ['client', 'server'] as const;
const MEGABYTE = 2 ** 20;
const CONNECTIONS = many(5000);
const CGROUPS = many(1000);

let scope: Scope;
const instance = `churn-${process.pid}`;

beforeAll(() => {
  scope = new Scope('churn');
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
});

const start = (...args: string[]) =>
  AgentProcess.start({
    cgroup: scope.path,
    instance,
    args,
    config: { limits: { pairs: 4096 }, boundaries: [0.01], idleAfter: '500ms' },
  });

/** What could grow. */
interface Held {
  /** Open files of the agent, but for sockets. */
  readonly files: number;
  /** Resident, bytes. */
  readonly memory: number;
  readonly attached: ReturnType<typeof attachedTo>;
  /** By map. */
  readonly entries: Readonly<Record<string, number>>;
}

function held({ pid }: AgentProcess): Held {
  const attached = attachedTo(scope.path);
  return {
    files: filesOf(pid).length,
    memory: Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024,
    attached,
    entries: entriesOf(attached.maps),
  };
}

/** But for sockets: connections of whoever scrapes come and go. */
function filesOf(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  const open = readdirSync(directory).map((fd) => {
    try {
      return readlinkSync(`${directory}/${fd}`);
    } catch {
      return 'socket:'; // gone meanwhile
    }
  });
  return open.filter((file) => !file.startsWith('socket:'));
}

/** Scrapes until all series have left the kernel. */
async function untilIdle(agent: AgentProcess, ratchet: Ratchet) {
  for (;;) {
    const page = await agent.scrape();
    expect(ratchet.check(page)).toEqual([]);
    if (page.budget('series') + page.budget('pairs') === 0) return page;
    await sleep(100);
  }
}

test(`${4 * CONNECTIONS} short connections: nothing grows`, PATIENTLY, async (context) => {
  const nginx = await Nginx.start(scope);
  const agent = await start();
  const ratchet = new Ratchet();
  const load = (requests: number) =>
    ab(scope, { urls: [nginx.url('/ok')], requests, connections: 32, keepAlive: false });
  await load(many(2000));
  const before = { page: await untilIdle(agent, ratchet), held: held(agent) };
  let sent = 0;
  for (let i = 0; i < 4; i++) {
    const { ok } = await load(CONNECTIONS);
    sent += ok;
    expect(ratchet.check(await agent.scrape())).toEqual([]);
  }
  expect(sent).toBe(4 * CONNECTIONS);
  expect(nginx.takeLog()).toEqual({ 'GET 200': sent + many(2000) });
  const after = { page: await untilIdle(agent, ratchet), held: held(agent) };
  nginx.removeFiles();

  for (const role of ROLES) {
    const gained = (metric: string) => after.page.sum(metric) - before.page.sum(metric);
    const counted = after.page.requests(role) - before.page.requests(role);
    expect(counted).toBe(sent);
    // ab opens a few more than it needs in the end.
    const opened = gained(`meshtap_tcp_${role}_connections_opened_total`);
    expect(opened).toBeGreaterThanOrEqual(sent);
    expect(gained(`meshtap_tcp_${role}_connections_closed_total`)).toBe(opened);
    report(context, { at: role, sent, counted, explained: 0, lost: sent - counted, wrong: 0 });
  }
  expect(after.held.attached).toEqual(before.held.attached);
  expect(after.held.entries).toEqual(before.held.entries);
  expect(after.held.files).toBeLessThanOrEqual(before.held.files);
  expect(after.held.memory).toBeLessThan(before.held.memory + 16 * MEGABYTE);
});

test(`${CGROUPS} short-lived cgroups: each has its name, and nothing stays`, PATIENTLY, async (context) => {
  const port = (await serveKeys(scope)).ports[0]!;
  const agent = await start('--fresh');
  const ratchet = new Ratchet();
  const GET = 'GET /200 HTTP/1.1\r\nHost: x\r\n\r\n';
  const live = (name: string, cgroups: number) => {
    const jobs = Array.from({ length: cgroups }, (_, i) => ({ name: `${name}-${i}`, requests: [GET] }));
    return sendFromCgroups(scope, port, jobs, 'removed at once', async (right) => right);
  };
  await live('first', many(100));
  const first = await untilIdle(agent, ratchet);
  const before = held(agent);
  const sent = await live('short', CGROUPS);
  const page = await untilIdle(agent, ratchet);
  const after = held(agent);

  for (const role of ROLES) {
    const counts = `http_${role}_request_duration_seconds_count`;
    const own = page
      .of(counts, { destination_service: 'server' })
      .filter(({ labels }) => !labels.source_service!.startsWith('first-'));
    const named = own.filter(({ labels }) => labels.source_service !== 'unknown');
    const wrong = named.filter(
      ({ labels, value }) => !labels.source_service!.startsWith('short-') || value !== 1,
    );
    expect(wrong).toEqual([]);
    const unnamed = { source_service: 'unknown' };
    const nameless = page.requests(role, unnamed) - first.requests(role, unnamed);
    expect(named.length + nameless).toBe(sent);
    // A cgroup that is gone before the agent gets to look at it has no name, but not another's.
    expect(nameless).toBeLessThanOrEqual(sent / 100);
    report(context, { at: role, sent, counted: named.length, explained: nameless, lost: 0, wrong: 0 });
  }
  expect(after.attached).toEqual(before.attached);
  expect(after.entries).toEqual(before.entries);
  expect(after.files).toBeLessThanOrEqual(before.files);
  // What left is still reported, until it is folded: at most what the agent says of its memory before it starts.
  expect(after.memory).toBeLessThan(before.memory + 112 * MEGABYTE);
});
