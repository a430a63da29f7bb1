import { expect, test } from 'vitest';
import { fromVitest, summarise, table } from '../../vm/report.js';

const assertion = (fullName: string, status: string, failureMessages: string[] = []) => ({
  fullName,
  status,
  failureMessages,
});

test('takes every test of a vitest report, and a file that did not load as one failure', () => {
  const { outcomes, seconds } = fromVitest(
    {
      testResults: [
        {
          name: '/project/test/kernel/counts.test.ts',
          status: 'failed',
          message: '',
          startTime: 5000,
          endTime: 7500,
          assertionResults: [
            assertion('counts all', 'passed'),
            assertion('counts once', 'failed', ['expected 1']),
            assertion('counts later', 'pending'),
          ],
        },
        {
          name: '/project/test/kernel/gone.test.ts',
          status: 'failed',
          message: 'no module',
          startTime: 8000,
          endTime: 8000,
          assertionResults: [],
        },
      ],
    },
    '/project',
  );
  expect(outcomes).toEqual([
    { test: 'test/kernel/counts: counts all', result: 'passed' },
    { test: 'test/kernel/counts: counts once', result: 'failed', detail: 'expected 1' },
    { test: 'test/kernel/counts: counts later', result: 'skipped' },
    { test: 'test/kernel/gone', result: 'failed', detail: 'no module' },
  ]);
  expect(seconds).toEqual({ 'test/kernel/counts': 2.5, 'test/kernel/gone': 0 });
});

test('prints tests down and kernels across, and leaves out what did not run', () => {
  const outcome = (kernel: string, test: string, result: 'passed' | 'failed') => ({
    tier: 'load',
    kernel,
    test,
    result,
  });
  const report = summarise({ '5.10': '5.10.0', '6.1': '6.1.0' }, [
    outcome('6.1', 'loads', 'passed'),
    outcome('6.1', 'attaches', 'passed'),
    outcome('5.10', 'loads', 'failed'),
  ]);
  expect(report).toMatchObject({ numPassedTests: 2, numFailedTests: 1, numPendingTests: 0 });
  expect(table(report)).toBe(
    ['                5.10    6.1', 'load: loads     failed  passed', 'load: attaches          passed'].join(
      '\n',
    ),
  );
});
