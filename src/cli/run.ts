import { once } from 'node:events';
import type { Logger } from 'pino';
import { type Agent, createAgent } from '../agent.js';
import type { Config } from '../config/schema.js';
import { EdgeWindow } from '../exporters/page/edge-window.js';
import type { ServicePage } from '../exporters/page/service-page.js';
import { mapOf } from '../exporters/page/wire-of.js';
import { VERSION } from '../metrics/version.js';
import { agentOptions, type RunOptions, watchedCgroup } from './agent-options.js';
import { flowServer } from './flow-server.js';
import { footprintLine, shares } from './footprint.js';
import { createLog } from './log.js';
import { servicePage } from './page.js';
import { untilSignal } from './signals.js';
import { type Running, serveStatus } from './status-socket.js';

/** `meshtap run`: until a signal comes. */
export async function run(config: Config, options: RunOptions): Promise<void> {
  const signal = untilSignal();
  const log = createLog(config.log);
  const { instance } = config;
  const kernel = config.receivers.ebpf !== undefined;
  try {
    if (kernel) process.stdout.write(`${footprintLine(config.limits)}\n`);
    const started: { agent?: Agent } = {};
    await using page = await servicePage(() => started.agent, config, log);
    await using agent = await createAgent(await agentOptions(config, options, log, signal));
    started.agent = agent;
    await using _status = await statusServer(agent, config, options, log, page);
    await using flows = await flowServer(agent, config, socketName(config, options), log);
    const { exporters, receivers } = await agent.status();
    const watching = kernel ? { cgroup: watchedCgroup(config) } : { receivers: Object.keys(receivers) };
    const served = { ...(page && { page: page.address }), flows: flows.addresses };
    log.info({ ...watching, instance, exporters, ...served }, 'counting');
    await aborted(signal);
  } catch (error) {
    // A signal during the start is an end like any other.
    if (!signal.aborted || error !== signal.reason) throw error;
  }
  const detach = `meshtap detach --instance ${instance}`;
  if (options.ephemeral || !kernel) log.info({ signal: signal.reason }, 'stopped');
  else log.info({ signal: signal.reason, instance }, `stopped; the kernel goes on counting until: ${detach}`);
}

/** Resolves when the signal comes, and keeps the process alive until then: not every exporter does. */
async function aborted(signal: AbortSignal): Promise<void> {
  const alive = setInterval(() => {}, 2 ** 30);
  if (!signal.aborted) await once(signal, 'abort');
  clearInterval(alive);
}

/** Any number of agents that pin nothing may share a name. */
const socketName = ({ instance }: Config, { ephemeral = false }: RunOptions) =>
  ephemeral ? `${instance}-${process.pid}` : instance;

/** Tells `meshtap status` how the agent is. Where there is no /run to do it in, that is missing and nothing else. */
export async function statusServer(
  agent: Agent,
  config: Config,
  { ephemeral = false }: RunOptions,
  log: Logger,
  page?: ServicePage,
): Promise<AsyncDisposable> {
  const { instance } = config;
  const since = Date.now();
  const kernel = config.receivers.ebpf !== undefined;
  const cgroup = kernel ? watchedCgroup(config) : 'none';
  try {
    const recent = new EdgeWindow(() => agent.snapshot());
    const status = async (): Promise<Running> => ({
      ...(await agent.status()),
      instance,
      cgroup,
      pinned: kernel && !ephemeral,
      version: VERSION,
      pid: process.pid,
      since,
      memory: process.memoryUsage.rss(),
      ...(page && { page: page.address }),
      ...(kernel && { shares: shares(config.limits) }),
    });
    const map = async () => mapOf(await recent.view());
    return await serveStatus(socketName(config, { ephemeral }), { status, map });
  } catch (error) {
    log.warn({ err: error }, 'meshtap status will not see this agent');
    return { [Symbol.asyncDispose]: async () => {} };
  }
}
