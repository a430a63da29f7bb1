import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CgroupMemory } from '../../../src/identity/cgroup-memory.js';
import { temporaryDirectory } from '../../support/bpf.js';

const file = () => join(temporaryDirectory(), 'deep', 'default.cgroups');

test('what one process noted, the next one knows', () => {
  const path = file();
  new CgroupMemory<string>(path, 10).note(7n, '/a "quoted"\nname');
  const next = new CgroupMemory<string>(path, 10);
  expect(next.get(7n)).toBe('/a "quoted"\nname');
  expect(next.get(8n)).toBeUndefined();
});

test('a line cut short is left out, and what comes after it is not', () => {
  const path = file();
  new CgroupMemory<string>(path, 10).note(7n, '/whole');
  appendFileSync(path, '8 "/cut');
  const next = new CgroupMemory<string>(path, 10);
  expect([next.get(7n), next.get(8n)]).toEqual(['/whole', undefined]);
  next.note(9n, '/after');
  expect(new CgroupMemory<string>(path, 10).get(9n)).toBe('/after');
});

test('neither the memory nor the file grows without end', () => {
  const path = file();
  const memory = new CgroupMemory<string>(path, 10);
  for (let id = 0n; id < 1000n; id++) memory.note(id, `/job-${id}`);
  expect(readFileSync(path, 'utf8').trim().split('\n').length).toBeLessThanOrEqual(20);
  const next = new CgroupMemory<string>(path, 10);
  expect(next.get(999n)).toBe('/job-999');
  expect(next.get(1n)).toBeUndefined();
});

test('nothing to note, no file', () => {
  const path = file();
  new CgroupMemory<string>(path, 10);
  expect(existsSync(path)).toBe(false);
});

test('where nothing can be written, it works for this process', () => {
  const memory = new CgroupMemory<string>('/dev/null/names', 10);
  memory.note(7n, '/a');
  expect(memory.get(7n)).toBe('/a');
});
