import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, onTestFinished } from 'vitest';

const root = join(import.meta.dirname, '../..');

/** A directory that goes with the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-test-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const compiled = new Map<string, string>();
let directory: string | undefined;
afterAll(() => directory && rmSync(directory, { recursive: true, force: true }));

/** Compiles test/fixtures/bpf-src/NAME.bpf.c as the build does, once per test file, and returns the object's path. */
export function compileFixture(name: string, ...defines: string[]): string {
  const id = [name, ...defines].join('-');
  const known = compiled.get(id);
  if (known !== undefined) return known;
  directory ??= mkdtempSync(join(tmpdir(), 'meshtap-objects-'));
  const object = join(directory, `${id}.bpf.o`);
  const source = join(root, 'test/fixtures/bpf-src', `${name}.bpf.c`);
  const machine = execFileSync('uname', ['-m']).toString().trim();
  const flags = `-O2 -g -target bpf -mcpu=v2 -I/usr/include/${machine}-linux-gnu -I${root}/bpf-src -Wall`;
  execFileSync(
    'clang',
    [...flags.split(' '), ...defines.map((define) => `-D${define}`), '-c', source, '-o', object],
    { stdio: 'pipe' },
  );
  compiled.set(id, object);
  return object;
}
