import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryDirectory } from '../support/bpf.js';
import { makeCgroup } from '../support/cgroup.js';
import { meshtap, startMeshtap } from '../support/cli.js';

const ROOT = join(import.meta.dirname, '../..');
const INSTANCE = `cli-${process.pid}`;

/** Names of the programs that are attached to a cgroup, as bpftool sees it. */
const attachedTo = (cgroup: string): string[] => {
  const list: { name: string }[] = JSON.parse(
    execFileSync('bpftool', ['-j', 'cgroup', 'show', cgroup]).toString().trim() || '[]',
  );
  return list.map(({ name }) => name).sort();
};

const pinned = (instance: string) => existsSync(`/sys/fs/bpf/meshtap/${instance}`);

/** `meshtap run` on a cgroup, told to serve where there is room. */
async function run(cgroup: string, ...args: string[]) {
  const agent = startMeshtap([
    'run',
    '--cgroup',
    cgroup,
    '--prometheus',
    '127.0.0.1:0',
    '--instance',
    INSTANCE,
    ...args,
  ]);
  const [line] = await agent.says(/^\{.*"msg":"counting".*$/m);
  return { agent, url: JSON.parse(line).exporters.prometheus as string };
}

/** A server in this process, outside of what is watched, and a client inside that asks it so many times. */
async function ask(cgroup: string, times: number): Promise<void> {
  const script = (port: number) => `
    const http = require('http'), agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const one = () => new Promise((ok) => http.get({ port: ${port}, host: '127.0.0.1', agent }, (r) => r.resume().on('end', ok)));
    (async () => { for (let i = 0; i < ${times}; i++) await one(); agent.destroy(); })();`;
  const server = createServer((_, response) => response.end('ok')).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const child = spawn(
    'sh',
    ['-c', 'echo $$ > "$0/cgroup.procs" && exec "$1" -e "$2"', cgroup, process.execPath, script(port)],
    {
      stdio: 'inherit',
    },
  );
  const code = await new Promise((resolve) => child.once('close', resolve));
  await new Promise((resolve) => server.close(resolve));
  expect(code).toBe(0);
}

/** Requests that clients of this cgroup made, as the endpoint tells it. */
async function asked(url: string, service: string): Promise<number> {
  const text = await (await fetch(url)).text();
  return text
    .split('\n')
    .filter(
      (line) =>
        line.startsWith('http_client_request_duration_seconds_count{') &&
        line.includes(`source_service="${service}"`),
    )
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

// Each start takes seconds: the verifier reads the programs.
const timeout = 120_000 * Number(process.env.MESHTAP_TIME_SCALE ?? 1);

describe('run, stop, run, detach', { timeout }, () => {
  test('what is counted while no agent runs is not lost; --fresh forgets; detach ends it', async () => {
    const { path } = makeCgroup('cli-run');
    onTestFinished(() => void meshtap(['detach', '--instance', INSTANCE]));
    const client = join(path, 'client');
    mkdirSync(client);
    onTestFinished(() => rmdirSync(client));

    const first = await run(path);
    await ask(client, 10);
    expect(await asked(first.url, 'client')).toBe(10);
    const { code, stderr } = await first.agent.stop('SIGTERM');
    expect(code).toBe(0);
    expect(stderr).toContain(`meshtap detach --instance ${INSTANCE}`);
    expect(pinned(INSTANCE)).toBe(true);
    expect(attachedTo(path)).not.toEqual([]);

    await ask(client, 5);
    const second = await run(path);
    await ask(client, 1);
    expect(await asked(second.url, 'client')).toBe(16);

    const { stdout } = await meshtap(['status']);
    expect(stdout).toMatch(new RegExp(`${INSTANCE} +${path} .* process ${second.agent.pid}\n`));
    expect(stdout).toMatch(/requests +answered +client +16\n/);
    await second.agent.stop('SIGINT');

    const third = await run(path, '--fresh');
    expect(await asked(third.url, 'client')).toBe(0);
    await third.agent.stop();

    expect(await meshtap(['detach', '--cgroup', path])).toEqual({
      code: 0,
      stdout: `instance ${INSTANCE} is detached\n`,
      stderr: '',
    });
    expect(pinned(INSTANCE)).toBe(false);
    expect(attachedTo(path)).toEqual([]);
    expect(readdirSync('/run').includes('meshtap') ? readdirSync('/run/meshtap') : []).not.toContain(
      `${INSTANCE}.cgroups`,
    );
  });

  test('the name of a cgroup that died while no agent ran is still known', async () => {
    const { path } = makeCgroup('cli-dead');
    onTestFinished(() => void meshtap(['detach', '--instance', INSTANCE]));
    const job = join(path, 'job');
    mkdirSync(job);
    const first = await run(path);
    await ask(job, 3);
    expect(await asked(first.url, 'job')).toBe(3);
    await first.agent.stop('SIGKILL');
    rmdirSync(job);
    const second = await run(path);
    expect(await asked(second.url, 'job')).toBe(3);
    await second.agent.stop();
    await meshtap(['detach', '--instance', INSTANCE]);
  });

  test('--ephemeral leaves nothing', async () => {
    const { path } = makeCgroup('cli-ephemeral');
    const { agent } = await run(path, '--ephemeral');
    expect(attachedTo(path)).not.toEqual([]);
    expect((await agent.stop()).code).toBe(0);
    expect(attachedTo(path)).toEqual([]);
    expect(pinned(INSTANCE)).toBe(false);
  });

  test('a second agent of the same instance is refused, and the first one minds nothing', async () => {
    const { path } = makeCgroup('cli-busy');
    onTestFinished(() => void meshtap(['detach', '--instance', INSTANCE]));
    const { agent, url } = await run(path);
    const second = await meshtap([
      'run',
      '--cgroup',
      path,
      '--instance',
      INSTANCE,
      '--prometheus',
      '127.0.0.1:0',
    ]);
    expect(second.code).toBe(1);
    expect(second.stderr).toBe(
      `meshtap: the instance ${INSTANCE} belongs to process ${agent.pid}. Stop that agent, or give this one another instance name\n`,
    );
    const detach = await meshtap(['detach', '--instance', INSTANCE]);
    expect(detach.code).toBe(1);
    expect((await fetch(url)).status).toBe(200);
    await agent.stop();
    await meshtap(['detach', '--instance', INSTANCE]);
  });
});

describe('what can not be done is said in one line, exits with 1 and leaves nothing attached', {
  timeout,
}, () => {
  async function refused(cgroup: string, args: string[], options = {}) {
    const result = await meshtap(['run', '--cgroup', cgroup, '--instance', INSTANCE, ...args], options);
    expect(result.code).toBe(1);
    expect(pinned(INSTANCE)).toBe(false);
    return result.stderr;
  }

  test('a port in use', async () => {
    const { path } = makeCgroup('cli-port');
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const stderr = await refused(path, ['--prometheus', `127.0.0.1:${port}`]);
    expect(stderr).toMatch(new RegExp(`^meshtap: 127\\.0\\.0\\.1:${port} is in use: .*\n$`));
    expect(attachedTo(path)).toEqual([]);
  });

  test('a cgroup that does not exist', async () => {
    const stderr = await refused('/sys/fs/cgroup/nowhere', []);
    expect(stderr).toMatch(/^meshtap: there is no cgroup \/sys\/fs\/cgroup\/nowhere\. .*\n$/);
  });

  test('a directory that is no cgroup', async () => {
    const stderr = await refused('/tmp', ['--prometheus', '127.0.0.1:0']);
    expect(stderr).toMatch(/^meshtap: \/tmp is not a cgroup-v2 directory\. .*\n$/);
  });

  test('missing privileges', async () => {
    const { path } = makeCgroup('cli-nobody');
    const stderr = await refused(path, ['--prometheus', '127.0.0.1:0'], { uid: 65534 });
    expect(stderr).toMatch(/^meshtap: .*\. Run as root, .*\n$/);
    expect(attachedTo(path)).toEqual([]);
  });

  test('libbpf missing', async () => {
    const { path } = makeCgroup('cli-libbpf');
    const stderr = await refused(path, ['--prometheus', '127.0.0.1:0'], {
      env: { MESHTAP_LIBBPF: 'libbpf.so.99' },
    });
    expect(stderr).toMatch(/^meshtap: .*libbpf\.so\.99.*\n$/);
    expect(attachedTo(path)).toEqual([]);
  });

  test('an object that the verifier refuses: one telling line, the whole log with --verbose', async () => {
    const { path } = makeCgroup('cli-refused');
    const main = packageWith(`
      #include "meshtap.bpf.c"
      SEC("cgroup_skb/egress") int refused(struct __sk_buff *skb) { return *(int *)(long)skb->hash; }
    `);
    const args = ['--prometheus', '127.0.0.1:0'];
    const stderr = await refused(path, args, { main });
    const [line, hint, ...more] = stderr.trimEnd().split('\n');
    expect(line).toMatch(/^meshtap: the verifier refused program refused of .*: .* invalid mem access .*$/);
    expect([hint, more]).toEqual(['Try again with --verbose for all of it.', []]);
    expect(attachedTo(path)).toEqual([]);

    const verbose = await refused(path, ['--verbose', ...args], { main });
    expect(verbose).toMatch(/BEGIN PROG LOAD LOG/);
    expect(verbose.split('\n').length).toBeGreaterThan(10);
  });
});

/** A copy of the package whose object is compiled from this source; its main file. */
function packageWith(source: string): string {
  const copy = temporaryDirectory();
  cpSync(join(ROOT, 'dist'), join(copy, 'dist'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const folder = join(copy, 'bpf', process.arch);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(copy, 'changed.bpf.c'), source);
  const machine = execFileSync('uname', ['-m']).toString().trim();
  const flags = `-O2 -g -target bpf -mcpu=v2 -I/usr/include/${machine}-linux-gnu -I${ROOT}/bpf-src`.split(
    ' ',
  );
  execFileSync('clang', [...flags, '-c', join(copy, 'changed.bpf.c'), '-o', join(folder, 'meshtap.bpf.o')]);
  return join(copy, 'dist/cli/main.js');
}
