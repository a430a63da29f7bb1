import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'meshtap-sum-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** @returns the last line and the exit status of .ci/sum.js for legs of [status, report] */
function sum(...legs: [status: number, report?: object][]) {
  const words = legs.flatMap(([status, report], index) => {
    const path = join(directory, `${legs.length}-${index}.json`);
    rmSync(path, { force: true });
    if (report) writeFileSync(path, JSON.stringify(report));
    return [`leg${index}`, String(status), path, '1 s'];
  });
  const { stdout, status } = spawnSync(process.execPath, ['.ci/sum.js', ...words], { encoding: 'utf8' });
  return { last: stdout.trimEnd().split('\n').at(-1), status };
}

const good = { numPassedTests: 3, numFailedTests: 0, numPendingTests: 1 };

test('adds up the reports of all legs', () => {
  const legs = sum([0, good], [1, { numPassedTests: 2, numFailedTests: 2, numPendingTests: 0 }]);
  expect(legs).toEqual({ last: '5 passed, 2 failed, 1 skipped', status: 1 });
});

test('a leg without a report that ended well, such as the set-up, changes nothing', () => {
  expect(sum([0, good], [0])).toEqual({ last: '3 passed, 0 failed, 1 skipped', status: 0 });
});

test('a leg that could not run is a failure', () => {
  expect(sum([0, good], [127])).toEqual({ last: '3 passed, 1 failed, 1 skipped', status: 1 });
});

test('a leg that ended badly with nothing failed in its report is a failure', () => {
  expect(sum([124, good])).toEqual({ last: '3 passed, 1 failed, 1 skipped', status: 1 });
});

test('a test file that could not be loaded is a failure', () => {
  const broken = { ...good, testResults: [{ status: 'failed', assertionResults: [] }] };
  expect(sum([1, broken])).toEqual({ last: '3 passed, 1 failed, 1 skipped', status: 1 });
});

test('nothing passed is not a pass', () => {
  expect(sum([0]).status).toBe(1);
});
