// sum.js [NAME STATUS REPORT TIME]...: one line per leg of .ci/run, then the sum of all their reports.
import { existsSync, readFileSync } from 'node:fs';

const total = { passed: 0, failed: 0, skipped: 0 };
for (let i = 2; i < process.argv.length; i += 4) {
  const [name, status, path, time] = process.argv.slice(i, i + 4);
  const { passed, failed, skipped } = existsSync(path) ? read(path) : { passed: 0, failed: 0, skipped: 0 };
  const silent = status !== '0' && failed === 0;
  const verdict = silent ? ` - ended with status ${status} (124: out of time) and no failed test` : '';
  console.log(`${name}, ${time}: ${passed} passed, ${failed} failed, ${skipped} skipped${verdict}`);
  total.passed += passed;
  total.failed += failed + (silent ? 1 : 0);
  total.skipped += skipped;
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

/** The sums of a report of vitest's or of test/vm/run.ts. A test file that could not be loaded is a failure. */
function read(path) {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const broken = (report.testResults ?? []).filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + (report.numTodoTests ?? 0),
  };
}
