import { spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/bpf.js';

const SETUP = join(import.meta.dirname, '../../scripts/setup.sh');

/** Runs the script where some commands are others; what it said and how it ended. */
function setup(
  args: string[],
  { commands = {}, uid = 0 }: { commands?: Record<string, string>; uid?: number } = {},
) {
  const directory = temporaryDirectory();
  chmodSync(directory, 0o755);
  for (const [name, script] of Object.entries(commands)) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  const env = { ...process.env, PATH: `${directory}:${process.env.PATH}` };
  const { status, stderr } = spawnSync('bash', [SETUP, ...args], { env, uid, encoding: 'utf8' });
  return { status, stderr };
}

test.each<[string, string[], Parameters<typeof setup>[1], RegExp]>([
  ['not root', [], { uid: 65534 }, /^setup: loading eBPF programs takes root, and this is user nobody\. /],
  [
    'not Linux',
    [],
    { commands: { uname: 'echo Darwin' } },
    /^setup: meshtap runs on Linux, this is Darwin\.$/m,
  ],
  [
    'an old kernel',
    [],
    { commands: { uname: '[ "$1" = -s ] && echo Linux || echo 4.19.0-26-amd64' } },
    /^setup: meshtap needs Linux 5\.10 or newer, this is 4\.19\.0-26-amd64\.$/m,
  ],
  [
    'an old Node',
    [],
    { commands: { node: '[ "$1" = -e ] && exit 1; echo v18.20.0' } },
    /needs Node\.js 20\.19 or newer, this is v18/,
  ],
  ['a wrong flag', ['--tests'], {}, /^setup: usage: /],
])('%s: said in one line, and not a success', (_, args, options, message) => {
  const { status, stderr } = setup(args, options);
  expect(status).toBe(1);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});
