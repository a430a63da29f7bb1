import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compileFixtures } from '../support/fixtures.js';
import { CORE } from './core.js';
import { runInGuest } from './guest.js';
import { fetchKernel, type Kernel, kernelNames } from './kernels.js';
import { type Found, fromVitest, type Report, RUN_ITSELF, summarise, table } from './report.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const environment = { CI: 'true', NO_COLOR: '1' };

/**
 * One process for all files, and modules that this machine has transformed: each would take the guest some ten
 * seconds per file.
 */
const vitest = (project: string, files: readonly string[] = []) => ({
  prepare: () => {
    compileFixtures();
    const list = ['node_modules/.bin/vitest', 'list', '--project', project, '--experimental.fsModuleCache'];
    const env = { ...process.env, MESHTAP_VM: '1' };
    execFileSync(process.execPath, list, { cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] });
  },
  command: () => [
    ...[process.execPath, 'node_modules/.bin/vitest', 'run', '--project', project],
    ...(values.only.length > 0 ? values.only : files),
    ...['--no-isolate', '--experimental.fsModuleCache'],
    ...['--reporter=verbose', '--reporter=test/vm/keep-report.ts'],
  ],
  read: (text: string) => fromVitest(JSON.parse(text), root),
});

/** What runs in the guest; each leaves a report in the directory it is given. */
const tiers = {
  /** Every BPF object loads, attaches and counts one exchange. */
  load: {
    timeout: 300,
    prepare: () => {},
    command: (results: string) => `node --import tsx test/vm/load.ts ${results}/report.json`.split(' '),
    read: (text: string): Found => JSON.parse(text),
  },
  /** What of test/kernel depends on the kernel most, in a time that an unattended run has. */
  core: { timeout: 2700, ...vitest('kernel', Object.keys(CORE)) },
  /** The whole of test/kernel. */
  kernel: { timeout: 3600, ...vitest('kernel') },
  /** Bad networks, which take modules that not every host has. */
  network: { timeout: 1800, ...vitest('vm') },
};
type Tier = keyof typeof tiers;

const { values } = parseArgs({
  options: {
    tier: { type: 'string', multiple: true, default: ['load', 'kernel', 'network'] },
    json: { type: 'string', default: join(root, '.cache/vm/report.json') },
    /** Only test files whose path contains one of these; the load tier has none. */
    only: { type: 'string', multiple: true, default: [] },
    /** How many machines at a time; each has two processors. */
    jobs: { type: 'string', default: '2' },
  },
});
for (const tier of values.tier) {
  if (!(tier in tiers)) throw new Error(`no tier "${tier}": there are ${Object.keys(tiers).join(' and ')}`);
}

const ended = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => ended.abort());

const kernels = kernelNames().map(fetchKernel);
for (const tier of values.tier as Tier[]) tiers[tier].prepare();
const queue = values.tier.flatMap((tier) => kernels.map((kernel) => ({ tier: tier as Tier, kernel })));
const outcomes: Report['outcomes'] = [];
const features: Report['features'] = {};
await Promise.all(Array.from({ length: Number(values.jobs) }, worker));

const releases = Object.fromEntries(kernels.map(({ name, release }) => [name, release]));
const report = summarise(releases, outcomes, features);
mkdirSync(dirname(values.json), { recursive: true });
writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
console.log(`\n${table(report)}\n`);
for (const { tier, kernel, test, result, detail } of outcomes) {
  if (result === 'failed') console.log(`FAILED on ${kernel}, ${tier}: ${test}\n${detail ?? ''}\n`);
}
console.log(
  `${report.numPassedTests} passed, ${report.numFailedTests} failed, ${report.numPendingTests} skipped`,
);
process.exitCode = report.numFailedTests === 0 && report.numPassedTests > 0 ? 0 : 1;

async function worker(): Promise<void> {
  for (let next = queue.shift(); next && !ended.signal.aborted; next = queue.shift()) {
    const { tier, kernel } = next;
    const started = Date.now();
    const found = await runTier(tier, kernel);
    outcomes.push(...found.outcomes.map((outcome) => ({ ...outcome, tier, kernel: kernel.name })));
    if (found.features) features[kernel.name] = found.features;
    for (const [file, seconds] of Object.entries(found.seconds ?? {}).sort(([, a], [, b]) => b - a))
      console.log(`[${kernel.name} ${tier}] ${String(Math.round(seconds)).padStart(5)} s  ${file}`);
    console.log(`[${kernel.name} ${tier}] took ${Math.round((Date.now() - started) / 1000)} s`);
  }
}

/** A run whose report is missing, or that ended badly with nothing failed in its report, is itself a failure. */
async function runTier(tier: Tier, kernel: Kernel): Promise<Found> {
  const { command, read, timeout } = tiers[tier];
  const results = mkdtempSync(join(tmpdir(), 'meshtap-vm-results-'));
  try {
    const status = await runInGuest({
      kernel,
      command: command(results),
      cwd: root,
      env: { ...environment, MESHTAP_VM_REPORT: join(results, 'report.json') },
      timeout,
      results,
      stdout: prefixed(`[${kernel.name} ${tier}] `, process.stdout),
      stderr: prefixed(`[${kernel.name} ${tier}] `, process.stderr),
      signal: ended.signal,
    });
    const found = tryRead(join(results, 'report.json'), read);
    const { outcomes } = found;
    if (outcomes.some(({ result }) => result === 'failed') || (status === 0 && outcomes.length > 0))
      return found;
    const failure = {
      test: RUN_ITSELF,
      result: 'failed' as const,
      detail: `ended with status ${status}`,
    };
    return { ...found, outcomes: [...outcomes, failure] };
  } finally {
    rmSync(results, { recursive: true });
  }
}

function tryRead(path: string, read: (text: string) => Found): Found {
  try {
    return read(readFileSync(path, 'utf8'));
  } catch {
    return { outcomes: [] };
  }
}

/** Whole lines only, so that two machines' outputs do not mix within one. */
function prefixed(prefix: string, sink: NodeJS.WriteStream): Transform {
  let rest = '';
  const lines = new Transform({
    transform(chunk, _encoding, done) {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop()!;
      done(null, parts.map((line) => `${prefix}${line}\n`).join(''));
    },
    flush(done) {
      done(null, rest && `${prefix}${rest}\n`);
    },
  });
  lines.pipe(sink, { end: false });
  return lines;
}
