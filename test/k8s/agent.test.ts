import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { AGENT, facts, installAgent, kubectl, Namespace, onNode, scrape, until } from './support.js';

beforeEach(installAgent, 240_000);

const agent = (...args: readonly string[]) => kubectl(['-n', 'meshtap', ...args]);
const nowhere = AGENT.replace(/^( *)hostNetwork: true$/m, '$&\n$1nodeSelector: { is: nowhere }');

test('what passes while there is no agent is counted too', { timeout: 600_000 }, async () => {
  await using space = await Namespace.make('survive');
  await space.manifest('bookinfo.yaml');
  await space.manifest('load.yaml');
  const ask = (count: number) =>
    space.exec('deploy/load', 'ab', '-q', '-n', String(count), 'http://details:9080/details/1');
  await ask(5);
  await kubectl(['apply', '-f', '-'], nowhere);
  await agent('wait', '--for=delete', 'pod', '--all', '--timeout=120s');
  await ask(7);
  await installAgent();
  await ask(11);
  const log = await space.accessLog('details');
  expect(log).toEqual({ 'GET 200 /details/1': 23 });
  const page = await scrape();
  for (const role of ['client', 'server'] as const) {
    const wanted = {
      source_service: 'load',
      destination_service: 'details',
      destination_namespace: space.name,
    };
    expect(page.requests(role, wanted)).toBe(23);
  }
});

const DOCUMENTED = readFileSync(join(import.meta.dirname, '../../docs/kubernetes.md'), 'utf8');

/** A file as the agent's container sees it, which has no program but its own. */
const inAgent = (path: string) =>
  agent('exec', 'daemonset/meshtap', '--', process.execPath, '-p', `fs.readFileSync('${path}', 'utf8')`);

test('it has three capabilities, and no more of the node than it says', async () => {
  const [status, mounts] = [await inAgent('/proc/1/status'), await inAgent('/proc/1/mountinfo')];
  // capabilities(7): NET_ADMIN is 12, PERFMON 38, BPF 39.
  const [, effective] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)!;
  expect(BigInt(`0x${effective}`)).toBe((1n << 12n) | (1n << 38n) | (1n << 39n));
  expect(mounts).toMatch(/ \/sys\/fs\/cgroup ro/);
  expect(mounts).toMatch(/ \/ \/ ro/);
});

test('taken off as documented, it leaves nothing on the node', { timeout: 600_000 }, async () => {
  expect(onNode('ls /sys/fs/bpf/meshtap').trim()).not.toBe('');
  const [, patch] = /patch daemonset meshtap -p '([^']+)'/.exec(DOCUMENTED)!;
  await agent('patch', 'daemonset', 'meshtap', '-p', patch!);
  await until('detached', async () => onNode('ls /sys/fs/bpf/meshtap 2>/dev/null || true').trim() === '');
  expect(execFileSync('bpftool', ['cgroup', 'show', facts.cgroup], { encoding: 'utf8' })).toBe('');
  await kubectl(['delete', '-f', '-', '--timeout=120s'], AGENT);
});
