import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

const compiled = join(root, '.cache/fixtures');

/** The newest change below a path, milliseconds. */
function changed(path: string): number {
  const below = statSync(path).isDirectory() ? readdirSync(path) : [];
  return Math.max(statSync(path).mtimeMs, ...below.map((name) => changed(join(path, name))));
}

/**
 * Compiles test/fixtures/bpf-src/NAME.bpf.c as the build does, and returns the object's path. Objects are kept while
 * they are newer than their sources: a compiler takes many seconds where a machine is emulated.
 */
export function compileFixture(name: string, ...defines: string[]): string {
  const object = join(compiled, `${[name, ...defines].join('-')}.bpf.o`);
  const source = join(root, 'test/fixtures/bpf-src', `${name}.bpf.c`);
  const sources = [source, join(root, 'bpf-src')].map(changed);
  if (existsSync(object) && statSync(object).mtimeMs > Math.max(...sources)) return object;
  mkdirSync(compiled, { recursive: true });
  const machine = execFileSync('uname', ['-m']).toString().trim();
  const flags = `-O2 -g -target bpf -mcpu=v2 -I/usr/include/${machine}-linux-gnu -I${root}/bpf-src -Wall`;
  const made = `${object}.${process.pid}`;
  execFileSync(
    'clang',
    [...flags.split(' '), ...defines.map((define) => `-D${define}`), '-c', source, '-o', made],
    { stdio: 'pipe' },
  );
  renameSync(made, object);
  return object;
}

/** Compiles test/fixtures/cable.c, and returns the program's path. */
export function compileCable(): string {
  const program = join(compiled, 'cable');
  const source = join(root, 'test/fixtures/cable.c');
  if (existsSync(program) && statSync(program).mtimeMs > changed(source)) return program;
  mkdirSync(compiled, { recursive: true });
  const made = `${program}.${process.pid}`;
  execFileSync('clang', ['-O2', '-Wall', '-Wextra', '-pthread', source, '-o', made], { stdio: 'pipe' });
  renameSync(made, program);
  return program;
}

/** Compiles all that tests use, for machines that do it better than those where the tests run. */
export function compileFixtures(): void {
  for (const name of ['counting', 'refused', 'standin']) compileFixture(name);
  compileFixture('standin', 'UPGRADED');
  compileCable();
}
