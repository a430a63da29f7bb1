import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { attachedTo } from '../../support/bpftool.js';
import { Ratchet } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { h2load } from '../../support/load.js';
import { Nginx } from '../../support/nginx.js';
import { Scope } from '../../support/scope.js';

const PROGRAMS = 6;
const BPFFS = '/sys/fs/bpf/meshtap';

let scope: Scope;
let nginx: Nginx;
const instance = `crash-${process.pid}`;

beforeAll(async () => {
  scope = new Scope('crash');
  nginx = await Nginx.start(scope);
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
  nginx.removeFiles();
});

const options = () => ({ cgroup: scope.path, instance });

const send = (requests: number) => h2load(scope, { urls: [nginx.url('/ok')], requests, connections: 4 });

/** What lies on bpffs of the instance: numbers of generations, `new` for one that was begun. */
function pinned(): string[] {
  try {
    return readdirSync(`${BPFFS}/${instance}`);
  } catch {
    return [];
  }
}

/** Milliseconds after the start of a process, over the first second of its life. */
const MOMENTS = [0, 50, 120, 200, 300, 400, 500, 650, 800, 1000];

test(
  'kill -9 at any moment of the first start leaves nothing that the next one does not put right',
  PATIENTLY,
  async (context) => {
    /** Nothing is in force that is not complete; if it is, the next start has to be the first again. */
    const look = async () => {
      const { links } = attachedTo(scope.path);
      if (pinned().every((name) => name === 'new')) return expect(links.length).toBeLessThanOrEqual(PROGRAMS);
      expect(links).toHaveLength(PROGRAMS);
      await detachInstance(instance);
    };
    for (const moment of MOMENTS) {
      const running = AgentProcess.spawn(options());
      await sleep(moment);
      await running.stop('SIGKILL');
      await look();
      await send(5);
    }
    // What takes time is the verifier; after it there are only milliseconds until all is pinned.
    for (const [step, moment] of [
      ['loaded', 20],
      ['pinned the maps', 0],
    ] as const) {
      const running = AgentProcess.spawn(options());
      await running.says(new RegExp(`"msg":"${step}"`));
      await sleep(moment);
      await running.stop('SIGKILL');
      await look();
    }

    const agent = await AgentProcess.start(options());
    expect(pinned()).toHaveLength(1);
    expect(attachedTo(scope.path).links).toHaveLength(PROGRAMS);
    const before = (await agent.scrape()).requests('server');
    await send(100);
    const counted = (await agent.scrape()).requests('server') - before;
    expect(counted).toBe(100);
    report(context, { at: 'server', sent: 100, counted, explained: 0, lost: 100 - counted, wrong: 0 });
  },
);

test(
  'kill -9 at any moment of a restart or of an end leaves an instance that counts on',
  PATIENTLY,
  async (context) => {
    const ratchet = new Ratchet();
    let agent = await AgentProcess.start(options());
    const first = await agent.scrape();
    expect(ratchet.check(first)).toEqual([]);
    const before = attachedTo(scope.path);
    let sent = 0;
    const sendSome = async () => {
      await send(20);
      sent += 20;
      expect(attachedTo(scope.path)).toEqual(before);
    };
    for (const moment of [0, 1, 2, 5, 10]) {
      agent.running.child.kill('SIGTERM');
      await sleep(moment);
      await agent.kill();
      await sendSome();
      agent = await AgentProcess.start(options());
      expect(ratchet.check(await agent.scrape())).toEqual([]);
      await sendSome();
    }
    await agent.kill();
    for (const moment of MOMENTS) {
      const running = AgentProcess.spawn(options());
      await sleep(moment);
      const killed = running.stop('SIGKILL');
      await sendSome();
      await killed;
    }
    agent = await AgentProcess.start(options());
    expect(pinned()).toEqual(['1']);
    const page = await agent.scrape();
    expect(ratchet.check(page)).toEqual([]);
    for (const role of ['client', 'server'] as const) {
      const counted = page.requests(role) - first.requests(role);
      expect(counted).toBe(sent);
      report(context, { at: role, sent, counted, explained: 0, lost: sent - counted, wrong: 0 });
    }
  },
);
