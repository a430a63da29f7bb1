import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const fuzz = join(import.meta.dirname, '../fuzz');
/** As many inputs for each harness, the same every time; with FUZZ_SECONDS as many as fit, others every time. */
const RUNS = 5000;
const seconds = Number(process.env.FUZZ_SECONDS ?? 0);
const MINUTE = 60_000;

test.each(['exact', 'robust', 'dns'])(
  'the programs in user space: %s',
  (harness) => {
    const directory = mkdtempSync(join(tmpdir(), 'meshtap-fuzz-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const program = join(directory, harness);
    mkdirSync(`${program}-found`);
    execFileSync('bash', [join(fuzz, 'build.sh'), harness, program]);
    const corpus = join(fuzz, 'corpus', harness);
    const bound = seconds > 0 ? [`-max_total_time=${seconds}`] : [`-runs=${RUNS}`, '-seed=1'];
    for (const work of [
      ['-runs=0', corpus],
      [...bound, '-max_len=2048', `${program}-found`, corpus],
    ]) {
      const { status, stderr } = spawnSync(program, work, { cwd: directory, maxBuffer: 1 << 28 });
      expect(status, stderr.toString().slice(-4000)).toBe(0);
    }
  },
  2 * MINUTE + 2000 * seconds,
);
