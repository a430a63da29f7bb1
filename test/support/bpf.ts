import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

const root = join(import.meta.dirname, '../..');

/** A directory that goes with the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-test-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const compiled = new Map<string, string>();

/** Compiles test/fixtures/bpf-src/NAME.bpf.c as the build does, once per test file, and returns the object's path. */
export function compileFixture(name: string): string {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-test-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const object = join(directory, `${name}.bpf.o`);
  const source = join(root, 'test/fixtures/bpf-src', `${name}.bpf.c`);
  const machine = execFileSync('uname', ['-m']).toString().trim();
  const flags = `-O2 -g -target bpf -mcpu=v2 -I/usr/include/${machine}-linux-gnu -I${root}/bpf-src -Wall`;
  execFileSync('clang', [...flags.split(' '), '-c', source, '-o', object], { stdio: 'pipe' });
  compiled.set(name, object);
  return object;
}
