import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type AgentOptions, AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { type Attached, attachedTo, leftOf } from '../../support/bpftool.js';
import { meshtap } from '../../support/cli.js';
import { h2load } from '../../support/load.js';
import { Nginx } from '../../support/nginx.js';
import { Scope } from '../../support/scope.js';

const root = join(import.meta.dirname, '../../..');
const NOTHING: Attached = { links: [], programs: [], maps: [] };
const PROGRAMS = 6;

let scope: Scope;
let nginx: Nginx;
const instance = `instances-${process.pid}`;
const other = `${instance}.other`;

beforeAll(async () => {
  scope = new Scope('instances');
  nginx = await Nginx.start(scope);
});

afterAll(async () => {
  for (const name of [instance, other]) await detachInstance(name);
  await scope[Symbol.asyncDispose]();
  nginx.removeFiles();
});

const start = (options: Partial<AgentOptions> = {}) =>
  AgentProcess.start({ cgroup: scope.path, instance, ...options });

const send = (requests: number) => h2load(scope, { urls: [nginx.url('/ok')], requests, connections: 2 });

const countOf = async (agent: AgentProcess) => (await agent.scrape()).requests('server');

async function goes(what: Attached): Promise<void> {
  for (let i = 0; i < 50 && Object.values(leftOf(what)).some((ids) => ids.length > 0); i++) await sleep(100);
  expect(leftOf(what)).toEqual(NOTHING);
}

describe('a restart that can not go on', () => {
  test('with other boundaries says so, and begins at 0', PATIENTLY, async () => {
    const first = await start();
    const before = attachedTo(scope.path);
    await send(10);
    expect(await countOf(first)).toBe(10);
    await first.kill();
    const second = await start({ config: { boundaries: [0.001, 2] } });
    expect(second.running.stderr).toContain(
      'All counts start again at 0, because the latency boundaries changed.',
    );
    await send(20);
    const page = await second.scrape();
    expect(page.requests('server')).toBe(20);
    const buckets = page.of('http_server_request_duration_seconds_bucket').map(({ labels }) => labels.le);
    expect(buckets).toEqual(['0.001', '2', '+Inf']);
    expect(attachedTo(scope.path).links).toHaveLength(PROGRAMS);
    // Links stay and get the new programs; addresses mean what they meant.
    await goes({ ...before, links: [], maps: [] });
  });

  /** A copy of the built program that knows one more method. */
  function versionWithMore(): string {
    const directory = mkdtempSync(join(tmpdir(), 'meshtap-next-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    cpSync(join(root, 'dist'), join(directory, 'dist'), { recursive: true });
    for (const name of ['package.json', 'node_modules', 'bpf', 'proto'])
      symlinkSync(join(root, name), join(directory, name));
    const layouts = join(directory, 'dist/bpf/generated/counts.js');
    const text = readFileSync(layouts, 'utf8');
    writeFileSync(layouts, text.replace(/METHOD_PATCH: 9/, '$&, METHOD_QUERY: 10'));
    expect(readFileSync(layouts, 'utf8')).not.toBe(text);
    return join(directory, 'dist/cli/main.js');
  }

  test('in another layout says so, and begins at 0', PATIENTLY, async () => {
    const agent = await start({ main: versionWithMore() });
    expect(agent.running.stderr).toContain(
      'All counts start again at 0, because this version counts in another layout.',
    );
    await send(30);
    expect(await countOf(agent)).toBe(30);
    expect(attachedTo(scope.path).links).toHaveLength(PROGRAMS);
  });
});

test('--fresh begins at 0 without a word, and leaves nothing of what was', PATIENTLY, async () => {
  const before = attachedTo(scope.path);
  const agent = await start({ args: ['--fresh'] });
  expect(agent.running.stderr).not.toContain('start again');
  await send(5);
  expect(await countOf(agent)).toBe(5);
  expect(attachedTo(scope.path).links).toHaveLength(PROGRAMS);
  await goes({ ...before, links: [] });
});

test('two agents on one cgroup need two names', PATIENTLY, async () => {
  const agent = await start();
  const before = await countOf(agent);
  const refused = await meshtap([
    'run',
    '--cgroup',
    scope.path,
    '--instance',
    instance,
    '--prometheus',
    '127.0.0.1:0',
  ]);
  expect(refused.code).toBe(1);
  expect(refused.stdout).toMatch(/^at most [^\n]+\n$/); // the memory it would have taken, and nothing served
  expect(refused.stderr).toContain(
    `meshtap: the instance ${instance} belongs to process ${agent.pid}. ` +
      'Stop that agent, or give this one another instance name',
  );
  for (const of of [
    ['--instance', instance],
    ['--cgroup', scope.path],
  ]) {
    const detached = await meshtap(['detach', ...of]);
    expect(detached.code).toBe(1);
    expect(detached.stderr).toContain(`belongs to process ${agent.pid}`);
  }
  const second = await start({ instance: other });
  await send(40);
  expect(await countOf(agent)).toBe(before + 40);
  expect(await countOf(second)).toBe(40);
});

test('detach removes everything', PATIENTLY, async () => {
  const before = attachedTo(scope.path);
  expect(before.links).toHaveLength(2 * PROGRAMS);
  expect(before.programs).toHaveLength(2 * PROGRAMS);
  for (const name of [instance, other]) {
    const { code, stdout } = await meshtap(['detach', '--instance', name]);
    expect([code, stdout]).toEqual([0, `instance ${name} is detached\n`]);
    expect(existsSync(`/sys/fs/bpf/meshtap/${name.replaceAll('.', '~')}`)).toBe(false);
    for (const kind of ['sock', 'cgroups']) expect(existsSync(`/run/meshtap/${name}.${kind}`)).toBe(false);
  }
  expect(attachedTo(scope.path)).toEqual(NOTHING);
  await goes(before);
  const again = await meshtap(['detach', '--instance', instance]);
  expect(again.code).toBe(2);
  expect(again.stderr).toContain(`there is no pinned instance ${instance}`);
});
