import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { makeCgroup } from '../support/cgroup.js';
import { Running } from '../support/cli.js';
import { freePort } from '../support/free-port.js';

const EXAMPLES = join(import.meta.dirname, '../../examples');

/** An example as its first lines tell to run it, on a cgroup with one below it for clients. */
function start(example: string, number: number) {
  const { path } = makeCgroup('example');
  const shop = join(path, 'shop');
  mkdirSync(shop);
  onTestFinished(() => rmdirSync(shop));
  const args = ['--import', 'tsx', join(EXAMPLES, `${example}.ts`), path, String(number)];
  const running = new Running(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
  onTestFinished(async () => void (await running.stop('SIGKILL')));
  return { running, shop };
}

/** Three requests from the cgroup of the shop. */
async function shopping(cgroup: string): Promise<void> {
  const server = createServer((_, response) => response.end()).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const script = 'echo $$ > "$0/cgroup.procs" && exec curl --silent --fail "$1" "$1" "$1"';
  const code = await new Promise((resolve) =>
    spawn('sh', ['-c', script, cgroup, url]).once('close', resolve),
  );
  server.close();
  expect(code).toBe(0);
}

/** The page, once somebody serves it. */
async function page(port: number, { running }: { running: Running }): Promise<string> {
  for (;;) {
    if (running.child.exitCode !== null) throw new Error(running.stderr);
    const response = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => undefined);
    if (response?.ok) return response.text();
    await sleep(50);
  }
}

const timeout = 60_000 * Number(process.env.MESHTAP_TIME_SCALE ?? 1);

test.each(['embed', 'own-resolver'])('%s serves what was counted', { timeout }, async (example) => {
  const port = await freePort();
  const { running, shop } = start(example, port);
  await page(port, { running });
  await shopping(shop);
  const text = await page(port, { running });
  const lines = text
    .split('\n')
    .filter((line) => /^http_client_request_duration(_seconds)?_count\{/.test(line));
  expect(lines).toEqual([expect.stringMatching(/source_service="shop".* 3$/)]);
  if (example === 'own-resolver') {
    const [, host] = execFileSync('getent', ['hosts', '127.0.0.1']).toString().trim().split(/\s+/);
    expect(lines[0]).toContain(`destination_service="${host}"`);
  }
  expect(await running.stop('SIGINT')).toMatchObject({ code: 0, stderr: '' });
});

test('own-exporter reports every so often', { timeout }, async () => {
  const { running, shop } = start('own-exporter', 200);
  const line = '{"source":"shop","destination":"unknown","method":"GET","status":200,"requests":';
  while (!running.stdout.includes(line)) {
    expect(running.child.exitCode).toBeNull();
    await shopping(shop);
    await sleep(200);
  }
  expect(await running.stop('SIGINT')).toMatchObject({ code: 0, stderr: '' });
});

test('each example is run here', () => {
  expect(
    readdirSync(EXAMPLES)
      .filter((file) => file.endsWith('.ts'))
      .sort(),
  ).toEqual(['embed.ts', 'own-exporter.ts', 'own-resolver.ts']);
});
