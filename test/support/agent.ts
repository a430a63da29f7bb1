import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import { meshtap, type Running, startMeshtap } from './cli.js';
import { Page } from './exposition.js';
import { scrape } from './scrape.js';

/** For tests that start agents: the verifier takes seconds, and more where the machine is busy. */
export const PATIENTLY = { timeout: 120_000 * Number(process.env.MESHTAP_TIME_SCALE ?? 1) };

export interface AgentOptions {
  /** The directory to watch. */
  cgroup: string;
  /** Name of its pins; whoever chooses it calls `detachInstance` in the end. */
  instance: string;
  /** @default an endpoint on a free port, and nothing else */
  config?: ConfigInput;
  /** More of the command line, such as `--fresh`. */
  args?: readonly string[];
  /** Another copy of the program. @default the built one */
  main?: string;
}

/** A process of the built `meshtap run`, killed at the end of the test if it still runs then. */
export class AgentProcess {
  readonly running: Running;
  /** Where it serves its metrics. */
  readonly url: string;

  private constructor(running: Running, url: string) {
    this.running = running;
    this.url = url;
  }

  /** Without waiting for anything. */
  static spawn({ cgroup, instance, config = {}, args = [], main }: AgentOptions): Running {
    const directory = mkdtempSync(join(tmpdir(), 'meshtap-agent-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'meshtap.yaml');
    const exporters = { prometheus: { listen: '127.0.0.1:0' }, ...config.exporters };
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ ...config, cgroup, instance, exporters }));
    return startMeshtap(['run', '--config', file, '--log-level', 'debug', ...args], main ? { main } : {});
  }

  /** Resolves when it counts. */
  static async start(options: AgentOptions): Promise<AgentProcess> {
    const running = AgentProcess.spawn(options);
    const [, url] = await running.says(/"prometheus":"(http:[^"]+)".*"msg":"counting"/);
    return new AgentProcess(running, url!);
  }

  get pid(): number {
    return this.running.pid;
  }

  async scrape(): Promise<Page> {
    const { status, body } = await scrape(this.url);
    if (status !== 200) throw new Error(`${status} ${body}`);
    return new Page(body.toString());
  }

  /** As by `kill -9`. */
  async kill(): Promise<void> {
    await this.running.stop('SIGKILL');
  }
}

/** Ends a pinned instance; fine if there is none. */
export async function detachInstance(instance: string): Promise<void> {
  const { code, stderr } = await meshtap(['detach', '--instance', instance]);
  if (code !== 0 && !stderr.includes('there is no pinned instance')) throw new Error(stderr);
}
