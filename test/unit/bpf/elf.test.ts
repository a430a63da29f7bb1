// Executables are whatever a container brings along: what is no ELF file, or a cut or torn one, has no functions.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { functionsOf } from '../../../src/bpf/elf.js';

const directory = mkdtempSync(join(tmpdir(), 'meshtap-elf-'));
const file = join(directory, 'file');
let whole: Buffer;

beforeAll(() => {
  // the dynamic linker's own library is on every machine that runs Node from a C library
  const loaded = readFileSync('/proc/self/maps', 'utf8');
  const libc = /\s(\/\S*\/(?:libc\.so\.6|ld-musl\S*))$/m.exec(loaded)![1]!;
  whole = readFileSync(libc);
});
afterAll(() => rmSync(directory, { recursive: true }));

test('functions that a library exports, and none that it does not', () => {
  writeFileSync(file, whole);
  const found = functionsOf(file, ['malloc', 'free', 'no_such_function']);
  expect([...found.keys()].sort()).toEqual(['free', 'malloc']);
  for (const offset of found.values()) expect(offset).toBeLessThan(whole.length);
});

test.for([0, 3, 63, 64, 1000, 100_000])('nothing of a file that is cut after %i bytes', (length) => {
  writeFileSync(file, whole.subarray(0, length));
  expect(functionsOf(file, ['malloc'])).toEqual(new Map());
});

test('nothing of a text', () => {
  writeFileSync(file, '#!/bin/sh\nexit 0\n'.repeat(50));
  expect(functionsOf(file, ['malloc'])).toEqual(new Map());
});

test('any header leads to an end', () => {
  let seed = 1;
  for (let round = 0; round < 300; round++) {
    const torn = Buffer.from(whole.subarray(0, 4096));
    for (let i = 0; i < 8; i++) {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      torn[16 + (seed % 48)] = (seed >> 8) & 255;
    }
    writeFileSync(file, torn);
    expect(functionsOf(file, ['malloc']).size).toBeLessThanOrEqual(1);
  }
});
