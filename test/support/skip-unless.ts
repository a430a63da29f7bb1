import { release } from 'node:os';
import type { TestContext } from 'vitest';
import { FEATURES } from '../../src/bpf/features.js';

declare module 'vitest' {
  interface TaskMeta {
    /** Why the test was skipped; the reports of test/vm show it. */
    skipped?: string;
  }
}

/**
 * Skips the test where the kernel lacks a feature and is older than the version that src/bpf/features.ts states for
 * it. Where the kernel is new enough, or cannot tell, the test fails: then the table is wrong, or something broke.
 *
 *     test('counts in a loop', (context) => {
 *       skipUnless(context, 'bpf_loop');
 */
export function skipUnless({ skip, task }: TestContext, name: string): void {
  const feature = FEATURES.find((candidate) => candidate.name === name);
  if (!feature) throw new Error(`src/bpf/features.ts has no feature "${name}"`);
  const { state, reason } = feature.probe();
  if (state === 'supported') return;
  const found = `${name} is ${state} on ${release()} (${reason})`;
  if (state === 'not supported' && isOlder(release(), feature.since)) {
    task.meta.skipped = `${found}; it came with ${feature.since}`;
    skip(task.meta.skipped);
  }
  throw new Error(`${found}, but is said to be there since ${feature.since}`);
}

/** Whether kernel `a` is older than `b`, by major and minor version. */
function isOlder(a: string, b: string): boolean {
  const [major, minor] = a.split('.').map(Number.parseFloat) as [number, number];
  const [otherMajor, otherMinor] = b.split('.').map(Number.parseFloat) as [number, number];
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}
