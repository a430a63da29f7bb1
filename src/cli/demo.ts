import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, createAgent } from '../agent.js';
import type { Override } from '../config/overrides.js';
import type { Config } from '../config/schema.js';
import { MeshtapError } from '../errors.js';
import { agentOptions, watchedCgroup } from './agent-options.js';
import { DemoCgroups } from './demo/cgroups.js';
import { LOAD, SERVICES } from './demo/plan.js';
import { DemoProcesses } from './demo/processes.js';
import { ratesBetween, type Sums, sumPairs } from './demo/rates.js';
import { Screen } from './demo/screen.js';
import { createLog } from './log.js';
import { servicePage } from './page.js';
import { statusServer } from './run.js';
import { untilSignal } from './signals.js';

export interface DemoOptions {
  /** End by itself after so many seconds. */
  seconds?: string;
}

/** What the demo shows if nothing else is said: all dialects, and the table undisturbed. */
export const demoDefaults: readonly Override[] = [
  { path: ['dialects'], value: ['otel', 'hubble', 'istio'], where: 'demo' },
  { path: ['log', 'level'], value: 'warn', where: 'demo' },
];

/** Milliseconds between two tables, and how many of them each looks back. */
const REFRESH = 2_000;
const WINDOW = 5;

/**
 * `meshtap demo`: services and a load in cgroups of their own, and an agent that watches only these. Whatever ends it
 * (a signal, the time, a process that crashed), nothing is left: links end with this process, children with their
 * parent, and the cgroups are removed here, or by the next demo if this one was killed.
 */
export async function demo(config: Config, { seconds }: DemoOptions): Promise<void> {
  const duration = seconds === undefined ? undefined : millisecondsOf(seconds);
  await play(config, untilSignal(), duration);
  process.stdout.write('stopped; nothing is left behind\n');
}

async function play(config: Config, stop: AbortSignal, duration: number | undefined): Promise<void> {
  const log = createLog(config.log);
  const names = [...SERVICES, LOAD].map(({ name }) => name);
  await using cgroups = new DemoCgroups(watchedCgroup(config), names);
  const watching = {
    ...config,
    receivers: { ebpf: {} },
    cgroup: cgroups.path,
    instance: `demo-${process.pid}`,
  };
  const unpinned = { ephemeral: true };
  const started: { agent?: Agent } = {};
  await using page = await servicePage(() => started.agent, watching, log);
  // Attached before the first socket is opened, so that everything is seen from its beginning.
  await using agent = await createAgent(await agentOptions(watching, unpinned, log));
  started.agent = agent;
  await using _status = await statusServer(agent, watching, unpinned, log, page);
  await using processes = new DemoProcesses(cgroups);
  await processes.start();
  const { exporters, dialects } = await agent.status();
  process.stdout.write(introduction(exporters, dialects, page?.address));
  const end = duration === undefined ? stop : AbortSignal.any([stop, AbortSignal.timeout(duration)]);
  await Promise.race([show(agent, end), processes.failed]);
}

function millisecondsOf(seconds: string): number {
  const number = Number(seconds);
  if (number > 0 && number <= 1e6) return number * 1000;
  throw new MeshtapError(
    'USAGE',
    `--seconds: found ${JSON.stringify(seconds)}, expected a number of seconds`,
  );
}

function introduction(
  exporters: Readonly<Record<string, string>>,
  dialects: readonly string[],
  page: string | undefined,
): string {
  const schedule = SERVICES.flatMap(({ name, failEvery, slowEvery }) => [
    ...(failEvery ? [`${name} answers every ${failEvery.requests}th request with ${failEvery.status}`] : []),
    ...(slowEvery
      ? [`${name} takes ${slowEvery.milliseconds} ms more for every ${slowEvery.requests}th`]
      : []),
  ]);
  const calls = SERVICES.flatMap(({ name, calls }) =>
    calls.length ? [`${name} calls ${calls.join(' and ')}`] : [],
  );
  const lines = [
    `${LOAD.perSecond} requests a second: ${[`${LOAD.name} calls ${LOAD.calls}`, ...calls.toReversed()].join(', ')}`,
    ...schedule,
    ...Object.entries(exporters).map(([name, address]) => `${name}: ${address} (${dialects.join(', ')})`),
    ...(page === undefined ? [] : [`service map: ${page}`]),
    'Ctrl-C ends it and leaves nothing behind',
  ];
  return `${lines.join('\n')}\n\n`;
}

/** Shows the rates of the last seconds until it is stopped. */
async function show(agent: Agent, stop: AbortSignal): Promise<void> {
  const screen = new Screen();
  const history: { at: number; sums: Sums }[] = [];
  while (!stop.aborted) {
    const snapshot = await agent.snapshot();
    const now = { at: snapshot.at, sums: sumPairs(snapshot) };
    const [before = { at: now.at - REFRESH, sums: new Map() }] = history;
    screen.show(ratesBetween(before.sums, now.sums, (now.at - before.at) / 1000, snapshot.boundaries));
    history.push(now);
    if (history.length > WINDOW) history.shift();
    await sleep(REFRESH, undefined, { signal: stop }).catch(() => {});
  }
}
