import { release } from 'node:os';
import { type FeatureReport, MILESTONES, probeFeatures } from '../bpf/features.js';
import { type InstanceReport, listInstances } from '../bpf/instance.js';
import { explain } from '../errors.js';
import { VERSION } from '../metrics/version.js';
import { footprintTable } from './footprint.js';
import { type Running, runningAgents } from './status-socket.js';
import { bytes, table } from './table.js';

/** `meshtap status`: the kernel, what is pinned, and every agent that runs. */
export async function status({ json = false }: { json?: boolean }): Promise<void> {
  const agents = await runningAgents();
  const instances = pinned();
  const features = probeFeatures();
  if (json) {
    const all = { version: VERSION, kernel: release(), features, instances, agents };
    process.stdout.write(`${JSON.stringify(all, null, 2)}\n`);
    return;
  }
  const parts = [
    `meshtap ${VERSION} on Linux ${release()}`,
    featureTable(features),
    milestones(),
    typeof instances === 'string'
      ? `Pinned instances can not be listed: ${instances}`
      : instanceTable(instances),
    ...(agents.length ? agents.map(agentReport) : ['No agent runs.']),
  ];
  process.stdout.write(`${parts.join('\n\n')}\n`);
}

/** The pinned instances, or why they can not be seen. */
function pinned(): InstanceReport[] | string {
  try {
    return listInstances();
  } catch (error) {
    return explain(error);
  }
}

function featureTable(features: readonly FeatureReport[]): string {
  const answer = ({ state, required, reason }: FeatureReport) =>
    state === 'supported'
      ? 'yes'
      : `${state === 'unknown' ? 'could not tell' : required ? 'NO' : 'no'} (${reason})`;
  return table(
    [
      { name: 'KERNEL FEATURE' },
      { name: 'SINCE', align: 'right' },
      { name: 'HERE' },
      { name: 'NEEDED' },
      { name: 'WITHOUT IT' },
    ],
    features.map((row) => [row.name, row.since, answer(row), row.required ? 'yes' : 'no', row.without]),
  );
}

function milestones(): string {
  return table(
    [{ name: 'LINUX', align: 'right' }, { name: 'KNOWN FOR' }, { name: 'BRINGS' }],
    MILESTONES.map(({ kernel, article, brings }) => [kernel, article, brings]),
  );
}

function instanceTable(instances: readonly InstanceReport[]): string {
  if (instances.length === 0) return 'Nothing is pinned.';
  return table(
    [{ name: 'PINNED INSTANCE' }, { name: 'CGROUP' }, { name: 'COUNTING SINCE' }, { name: 'AGENT' }],
    instances.map(({ name, cgroup, startedAt, pid }) => [
      name,
      cgroup,
      time(startedAt),
      pid === undefined ? 'none; counts on its own' : `process ${pid}`,
    ]),
  );
}

function agentReport(agent: Running): string {
  const { counts } = agent;
  const receivers = Object.entries(agent.receivers).map(([name, status]) => {
    const reason = 'reason' in status ? `: ${status.reason}` : '';
    const detail =
      'detail' in status ? Object.entries(status.detail).map(([key, value]) => `${key} ${value}`) : [];
    return [name, `${status.state}${reason}`, detail.join(', ')];
  });
  const facts = [
    ['cgroup', agent.cgroup],
    ['process', `${agent.pid}, since ${time(agent.since)}, ${bytes(agent.memory)} resident`],
    ['pinned', agent.pinned ? 'yes' : 'no, all ends with the process'],
    ['dialects', agent.dialects.join(', ')],
    ...Object.entries(agent.exporters).map(([name, address]) => [name, address]),
    ...(agent.page ? [['service map', agent.page]] : []),
    ...Object.entries(agent.resolvers).map(([name, words]) => [`names: ${name}`, words]),
    ...('failed' in counts
      ? [['counts', `can not be read: ${counts.failed}`]]
      : [['counting since', time(counts.startedAt)]]),
  ];
  return [
    table([{ name: `AGENT ${agent.instance}` }, { name: '' }], facts),
    table([{ name: 'RECEIVER' }, { name: 'STATE' }, { name: '' }], receivers),
    ...(agent.shares ? [footprintTable(agent.shares)] : []),
    ...('failed' in counts ? [] : [budgetTable(counts.budgets), ledgerTable(counts.ledger)]),
  ].join('\n\n');
}

type Counts = Exclude<Running['counts'], { failed: string }>;

function budgetTable(budgets: Counts['budgets']): string {
  return table(
    [{ name: 'BUDGET' }, { name: 'USED', align: 'right' }, { name: 'OF', align: 'right' }],
    budgets.map(({ name, used, limit }) => [name, String(used), String(limit)]),
  );
}

/** What was seen, and under it what became of it; rows of nothing are left out. */
function ledgerTable(ledger: Counts['ledger']): string {
  return table(
    [{ name: 'LEDGER' }, { name: '' }, { name: 'SIDE' }, { name: 'COUNT', align: 'right' }],
    ledger
      .filter(({ count }) => count > 0)
      .map(({ subject, outcome, role, count }) => [subject, outcome, role, String(count)]),
  );
}

const time = (milliseconds: number) => new Date(milliseconds).toISOString().replace(/\.\d+Z$/, 'Z');
