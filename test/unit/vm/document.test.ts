// docs/reliability.md is written from runs on emulated machines, seldom: that it still speaks of what there is.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FEATURES } from '../../../src/bpf/features.js';
import { kernelNames } from '../../vm/kernels.js';

const root = join(import.meta.dirname, '../../..');
const text = readFileSync(join(root, 'docs/reliability.md'), 'utf8');

/** The rows of the table below a heading, its head first; their fields without marks of code. */
function tableBelow(heading: string): string[][] {
  const [, below] = text.split(`${heading}\n`);
  const lines = below!.split('\n');
  const first = lines.findIndex((line) => line.startsWith('|'));
  const end = lines.findIndex((line, i) => i > first && !line.startsWith('|'));
  const [head, , ...rows] = lines.slice(first, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((field) => field.trim().replaceAll('`', '')),
  );
  return [head!, ...rows];
}

test('it has every kernel', () => {
  expect(
    tableBelow('## Kernels')
      .slice(1)
      .map(([name]) => name),
  ).toEqual(kernelNames(''));
});

test('it has every feature, with an answer of every kernel', () => {
  const [head, ...rows] = tableBelow('### What each has');
  expect(head!.slice(3)).toEqual(kernelNames(''));
  expect(rows.map(([name, since, required]) => [name, since, required])).toEqual(
    FEATURES.map(({ name, since, required }) => [name, since, required ? 'yes' : '']),
  );
  for (const [, , required, ...answers] of rows)
    for (const answer of answers) expect(required ? ['yes'] : ['yes', 'no']).toContain(answer);
});

test('it has files that exist, and none that failed', () => {
  const [, ...rows] = tableBelow('### Tests');
  for (const [name, ...results] of rows) {
    if (name!.startsWith('test/')) expect(existsSync(join(root, `${name}.test.ts`)), name).toBe(true);
    expect(results.join(), name).not.toContain('failed');
  }
});

test('it has faults that exist, each seen from both ends, with nothing lost and nothing wrong', () => {
  const source = readFileSync(join(root, 'test/vm/netem.test.ts'), 'utf8');
  const faults = [...source.matchAll(/name: '([^']+)'/g)].map(([, name]) => name!);
  const [, ...network] = tableBelow('## Network trouble');
  expect(network.length).toBeGreaterThan(0);
  for (const [name, kernel] of network) {
    expect(
      faults.some((fault) => name!.endsWith(` with ${fault}`)),
      name,
    ).toBe(true);
    const ends = network.filter((row) => row[0] === name && row[1] === kernel).map((row) => row[2]);
    expect(ends, name).toEqual(['client', 'server']);
  }
  const [, ...others] = tableBelow('## Survival, bounds and reuse');
  for (const [name, kernel, at, , , , lost, wrong] of [...network, ...others])
    expect({ name, kernel, at, lost, wrong }).toEqual({ name, kernel, at, lost: '0', wrong: '0' });
});
