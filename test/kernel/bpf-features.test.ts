import { execFileSync } from 'node:child_process';
import { release } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FEATURES, type FeatureReport, MILESTONES, probeFeatures } from '../../src/bpf/features.js';

const root = join(import.meta.dirname, '../..');

/** Rows that a kernel's configuration or a lockdown decides, not its age. */
const CONFIGURED = ['kprobes', 'uprobes', 'kernel BTF', 'tp_btf programs', 'fentry programs'];

const number = (version: string) => {
  const [major, minor] = version.split('.').map(Number);
  return major! * 1000 + minor!;
};

test('every feature is where its kernel version says, on mainline kernels', () => {
  const running = number(release());
  const found = probeFeatures().filter((row) => !CONFIGURED.includes(row.name));
  const expected = found.map((row) => [
    row.name,
    running >= number(row.since) ? 'supported' : 'not supported',
  ]);
  expect(found.map((row) => [row.name, row.state])).toEqual(expected);
});

test('what a configuration decides is tried, and a refusal has its reason', () => {
  for (const row of probeFeatures().filter((row) => CONFIGURED.includes(row.name))) {
    if (row.state !== 'supported') expect(row.reason, row.name).toBeTruthy();
  }
});

test('without privileges the answer is that it is not known', () => {
  const program = `
    import { probeFeatures } from './dist/bpf/features.js';
    console.log(JSON.stringify(probeFeatures()));`;
  const node = [process.execPath, '--input-type=module', '-e', program];
  const printed = execFileSync('setpriv', ['--bounding-set=-all', '--inh-caps=-all', '--', ...node], {
    cwd: root,
  });
  const rows: FeatureReport[] = JSON.parse(printed.toString());
  const known = rows.filter((row) => row.state !== 'unknown').map((row) => row.name);
  expect(known).toEqual(['kernel BTF']); // a file says so
});

test('everything required is in the oldest kernel that is promised, and the list of kernels ends with it', () => {
  const oldest = MILESTONES.at(-1)!.kernel;
  expect(oldest).toBe('5.10');
  for (const row of FEATURES.filter((row) => row.required)) {
    expect(number(row.since), row.name).toBeLessThanOrEqual(number(oldest));
  }
});
