/**
 * What meshtap costs: `npm run bench -- [--quick] [--json FILE] [--object FILE]`. Needs root, nginx and wrk. Prints
 * Markdown; `--quick` takes less than a minute and says little more than that everything still works.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { shippedObject } from '../src/bpf/object.js';
import { explain } from '../src/errors.js';
import { FULL, measureCost, measureEffect, QUICK } from './overhead.js';
import { loadEmpty, loadMeshtap, statisticsOf } from './programs.js';
import { markdown, type Report } from './report.js';
import { measureRoutes } from './routes.js';
import { Traffic } from './traffic.js';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean' }, json: { type: 'string' }, object: { type: 'string' } },
});
const effort = options.quick ? QUICK : FULL;
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));

try {
  const report = await measure();
  console.log(markdown(report));
  if (options.json) writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
} catch (error) {
  console.error(explain(error));
  process.exitCode = 1;
}

async function measure(): Promise<Report> {
  using empty = await loadEmpty();
  using meshtap = await loadMeshtap(options.object ?? shippedObject('meshtap'));
  await using traffic = await Traffic.start(interrupted.signal);
  const processors = cpus();
  return {
    machine: `${processors.length} x ${processors[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    rounds: `${effort.rounds} rounds of ${effort.seconds} s each, 32 connections, both ends on this machine`,
    verified: Object.fromEntries(statisticsOf(meshtap).map(({ name, verified }) => [name, verified])),
    cost: await measureCost(traffic, empty, meshtap, effort),
    routes: await measureRoutes(traffic, empty, meshtap, effort),
    effect: await measureEffect(traffic, meshtap, effort),
    scrape: scrapes(options.quick ? [1000] : [1000, 10_000, 100_000]),
    identity: lines('identity.ts', ...(options.quick ? ['--quick'] : [])),
  };
}

/** Each in a process of its own, so that none inherits another's heap. */
function scrapes(samples: readonly number[]): Record<string, string[]> {
  return Object.fromEntries(samples.map((count) => [count, lines('scrape.ts', String(count))]));
}

/** What another of these scripts prints. */
function lines(script: string, ...args: string[]): string[] {
  const flags = ['--expose-gc', '--import', 'tsx', join(import.meta.dirname, script)];
  return execFileSync(process.execPath, [...flags, ...args])
    .toString()
    .trim()
    .split('\n');
}
