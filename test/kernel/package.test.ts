import { execFileSync, spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { makeCgroup } from '../support/cgroup.js';
import { Running } from '../support/cli.js';
import { freePort } from '../support/free-port.js';

const ROOT = join(import.meta.dirname, '../..');
// Compiling and installing; a guest of test/vm has neither a compiler nor a registry.
const there = test.skipIf(process.env.MESHTAP_VM !== undefined);
const timeout = 300_000;

let directory: string | undefined;
let user: string;
let installed: string;

const run = (cwd: string, command: string, ...args: string[]): string =>
  execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 26,
  });

beforeAll(() => {
  if (process.env.MESHTAP_VM) return;
  directory = mkdtempSync(join(tmpdir(), 'meshtap-package-'));
  // As a clone is: nothing built, nothing that git does not know.
  const clone = join(directory, 'clone');
  mkdirSync(clone);
  run(ROOT, 'sh', '-c', 'git ls-files -z | tar --null --ignore-failed-read -T - -c | tar -x -C "$0"', clone);
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
  run(clone, 'npm', 'pack', '--silent', '--pack-destination', directory);
  const [tarball] = readdirSync(directory).filter((file) => file.endsWith('.tgz'));
  user = join(directory, 'user');
  mkdirSync(user);
  writeFileSync(join(user, 'package.json'), '{ "private": true, "type": "module" }');
  run(user, 'npm', 'install', '--prefer-offline', '--silent', join(directory, tarball!));
  installed = join(user, 'node_modules/meshtap');
}, timeout);

afterAll(() => {
  if (directory !== undefined) rmSync(directory, { recursive: true });
});

there('what is packed from a fresh clone has all that runs, and maps that stand for themselves', () => {
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  expect(files).toEqual(
    expect.arrayContaining([
      ...[
        'dist/index.js',
        'dist/index.d.ts',
        'dist/cli/main.js',
        'meshtap.schema.json',
        'README.md',
        'LICENSE',
      ],
      ...[
        'index.html',
        'page.css',
        'icon.svg',
        'main.js',
        'graph.js',
        'cytoscape.js',
        'cytoscape.LICENSE',
      ].map((file) => `dist/exporters/page/browser/${file}`),
      ...['bpf/x64/meshtap.bpf.o', 'bpf/arm64/meshtap.bpf.o', 'docs/architecture.md', 'CHANGELOG.md'],
    ]),
  );
  const maps = files.filter((file) => file.endsWith('.js.map'));
  expect(maps.length).toBeGreaterThan(0);
  for (const map of maps) {
    const { sources, sourcesContent } = JSON.parse(readFileSync(join(installed, map), 'utf8'));
    expect(sourcesContent, map).toHaveLength(sources.length);
  }
});

there('npx meshtap --help', () => {
  expect(run(user, 'npx', 'meshtap', '--help')).toMatch(/^Usage: meshtap /);
});

there('the example of the README serves metrics', { timeout }, async () => {
  // It has no types in it, so it is what runs.
  const example = readFileSync(join(ROOT, 'examples/embed.ts'), 'utf8');
  writeFileSync(join(user, 'embed.js'), example);
  const port = await freePort();
  const args = ['embed.js', makeCgroup('package').path, String(port)];
  const running = new Running(
    spawn(process.execPath, args, { cwd: user, stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  onTestFinished(async () => void (await running.stop('SIGKILL')));
  for (;;) {
    if (running.child.exitCode !== null) throw new Error(running.stderr);
    const response = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => undefined);
    const text = response?.ok ? await response.text() : '';
    if (text.includes('meshtap_ledger_entries_total{')) break;
    await sleep(100);
  }
  expect(await running.stop('SIGINT')).toMatchObject({ code: 0, stderr: '' });
});
