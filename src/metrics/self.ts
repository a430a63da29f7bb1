/**
 * What meshtap says about itself.
 *
 * @module
 */

import { release } from 'node:os';
import type { Chain } from '../identity/chain.js';
import type { Counts } from '../receivers/counts.js';
import type { MetricFamily, NumberPoint } from './family.js';
import { labels, NumberPoints } from './points.js';
import { VERSION } from './version.js';

/** The ledger, which accounts for everything seen, and how much of each budget is spent. */
export function ledger({
  startedAt,
  ledger,
  budgets,
}: Pick<Counts, 'startedAt' | 'ledger' | 'budgets'>): MetricFamily[] {
  const entries = new NumberPoints();
  for (const { role, subject, outcome, count } of ledger)
    entries.add(labels({ role, subject, outcome }), count);
  const gauge = (field: 'used' | 'limit', description: string): MetricFamily => ({
    type: 'gauge',
    name: `meshtap.budget.${field}`,
    description,
    unit: '{entry}',
    points: budgets.map((budget) => ({ attributes: { budget: budget.name }, value: budget[field] })),
  });
  return [
    {
      type: 'counter',
      name: 'meshtap.ledger.entries',
      description: 'What was seen and what became of it, by role, subject and outcome.',
      unit: '{entry}',
      startedAt,
      points: entries.list(),
    },
    gauge('used', 'Entries used of a budget.'),
    gauge('limit', 'Entries a budget has.'),
  ];
}

/** How names come by: how old what is known is, and how many ends wait for theirs. */
export function identityHealth({ held, ages }: ReturnType<Chain['health']>): MetricFamily[] {
  const waiting: MetricFamily = {
    type: 'gauge',
    name: 'meshtap.identity.held',
    description: 'Ends whose counts are held back because they may be told a name any moment.',
    unit: '{end}',
    points: [{ attributes: {}, value: held }],
  };
  if (ages.length === 0) return [waiting];
  const age: MetricFamily = {
    type: 'gauge',
    name: 'meshtap.identity.age',
    description: 'Time since a source of names last confirmed what is known of it.',
    unit: 's',
    points: ages.map(({ resolver, kind, age }) => ({ attributes: { resolver, kind }, value: age })),
  };
  return [waiting, age];
}

/** The process meshtap runs in. For the agent; an embedder's process is the embedder's to describe. */
export function agentProcess(): MetricFamily[] {
  const { user, system } = process.cpuUsage();
  const cpu = (mode: string, microseconds: number): NumberPoint => ({
    attributes: { 'cpu.mode': mode },
    value: microseconds / 1e6,
  });
  return [
    {
      type: 'gauge',
      name: 'meshtap.build.info',
      description: 'Always 1; says which meshtap this is, and on which kernel.',
      unit: '',
      points: [
        {
          attributes: {
            version: VERSION,
            node: process.versions.node,
            arch: process.arch,
            kernel: release(),
          },
          value: 1,
        },
      ],
    },
    {
      type: 'counter',
      name: 'process.cpu.time',
      description: 'CPU time of the agent.',
      unit: 's',
      startedAt: Math.round(performance.timeOrigin),
      points: [cpu('user', user), cpu('system', system)],
    },
    {
      type: 'gauge',
      name: 'process.memory.usage',
      description: 'Resident memory of the agent.',
      unit: 'By',
      points: [{ attributes: {}, value: process.memoryUsage.rss() }],
    },
  ];
}
