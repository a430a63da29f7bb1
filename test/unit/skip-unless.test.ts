import { release } from 'node:os';
import { expect, type TestContext, test, vi } from 'vitest';
import { FEATURES, type Feature } from '../../src/bpf/features.js';
import { skipUnless } from '../support/skip-unless.js';

/** What becomes of a test that needs a feature which came with `since` and which the kernel answers for so. */
function outcome(since: string, state: 'supported' | 'not supported' | 'unknown') {
  const feature: Feature = {
    name: 'made up',
    since,
    required: false,
    without: '',
    probe: () => ({ state, reason: 'EINVAL' }),
  };
  (FEATURES as Feature[]).push(feature);
  const skipped = new Error('skipped');
  const skip = vi.fn(() => {
    throw skipped;
  });
  try {
    skipUnless({ skip, task: { meta: {} } } as unknown as TestContext, 'made up');
    return 'runs';
  } catch (error) {
    return error === skipped ? 'skipped' : 'fails';
  } finally {
    (FEATURES as Feature[]).pop();
  }
}

test('a test runs where the feature is', () => expect(outcome('99.0', 'supported')).toBe('runs'));

test('a test is skipped only where the kernel is older than the feature', () => {
  expect(outcome('99.0', 'not supported')).toBe('skipped');
  expect(outcome('2.6', 'not supported')).toBe('fails');
  const [major, minor] = release().split('.');
  expect(outcome(`${major}.${minor}`, 'not supported')).toBe('fails');
});

test('not to know is no reason to skip', () => expect(outcome('99.0', 'unknown')).toBe('fails'));

test('a feature that is not in the table is a mistake', () => {
  expect(() => skipUnless({ task: { meta: {} } } as TestContext, 'no such thing')).toThrow('no feature');
});
