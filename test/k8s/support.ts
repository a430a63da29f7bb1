/**
 * The node that run.ts started, for tests: kubectl, pods, the agent on it.
 *
 * @module
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { Page } from '../support/exposition.js';
import type { Facts } from './node/cluster.js';
import { binary } from './node/components.js';

export const facts: Facts = JSON.parse(readFileSync(process.env.MESHTAP_K8S!, 'utf8'));

/** The agent's page, from outside of the cluster. */
export const METRICS = `http://${facts.node}:9464/metrics`;

const here = (path: string) => readFileSync(join(import.meta.dirname, path), 'utf8');

/** Runs kubectl to its end, with something on standard input if given. Rejects with what it wrote if it fails. */
export async function kubectl(args: readonly string[], input = ''): Promise<string> {
  const child = spawn(binary('kubectl'), [`--kubeconfig=${facts.kubeconfig}`, ...args]);
  child.stdin.on('error', () => {}); // it ended without reading: its status and what it wrote say why
  child.stdin.end(input);
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, error, code] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${code} ${error}${out}`);
  return out;
}

/** Runs a script of sh(1) where the node's processes, mounts and network are. @returns its standard output */
export function onNode(script: string): string {
  const there = ['--target', String(facts.pid), '--mount', '--pid', '--net', '--uts'];
  return execFileSync('nsenter', [...there, 'sh', '-c', script], { encoding: 'utf8' });
}

/** What a list of kubectl's has, such as `list('pods', '-n', 'x')`. */
export async function list<T = Pod>(...args: readonly string[]): Promise<T[]> {
  return JSON.parse(await kubectl(['get', ...args, '-o', 'json'])).items;
}

export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly annotations?: Record<string, string>;
  };
  readonly status: { readonly podIP?: string; readonly phase: string };
}

/** A namespace of the test's own, with a name that no other ever had; it goes, with all in it, when the test is over. */
export class Namespace {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async make(purpose: string): Promise<Namespace> {
    const name = `${purpose}-${randomBytes(3).toString('hex')}`;
    await kubectl(['create', 'namespace', name]);
    await until(`the service account of ${name}`, () =>
      kubectl(['-n', name, 'get', 'serviceaccount', 'default']),
    );
    return new Namespace(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await kubectl(['delete', 'namespace', this.name, '--wait=false']);
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return kubectl(['-n', this.name, ...args]);
  }

  /** Makes or changes what a manifest describes, in this namespace; waits until its deployments have rolled out. */
  async apply(manifest: string): Promise<void> {
    await kubectl(['-n', this.name, 'apply', '-f', '-'], manifest);
    const deployments = (await this.kubectl('get', 'deployments', '-o', 'name')).split('\n').filter(Boolean);
    for (const deployment of deployments)
      await this.kubectl('rollout', 'status', deployment, '--timeout=180s');
  }

  manifest(name: string): Promise<void> {
    return this.apply(here(`manifests/${name}`));
  }

  /** Makes objects. */
  create(...objects: readonly object[]): Promise<string> {
    return kubectl(
      ['-n', this.name, 'create', '-f', '-'],
      objects.map((object) => stringify(object)).join('---\n'),
    );
  }

  /** Runs a command in a pod of a deployment (`deploy/load`) or in a pod. @returns its standard output */
  exec(where: string, ...command: readonly string[]): Promise<string> {
    return this.kubectl('exec', where, '--', ...command);
  }

  /** How often each line, such as `GET 200 /details/1`, is in the access log of the pods with this `app` label. */
  async accessLog(app: string): Promise<Record<string, number>> {
    const lines = (await this.kubectl('logs', '-l', `app=${app}`, '--tail=-1')).split('\n').filter(Boolean);
    return tally(lines);
  }

  /** The one pod with this `app` label. */
  async pod(app: string): Promise<Pod> {
    const pods = await list('pods', '-n', this.name, '-l', `app=${app}`);
    if (pods.length !== 1) throw new Error(`${pods.length} pods of ${app}`);
    return pods[0]!;
  }
}

export function tally(lines: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const line of lines) counts[line] = (counts[line] ?? 0) + 1;
  return counts;
}

/** deploy/kubernetes.yaml, with the directory of this node's pods. */
export const AGENT = here('../../deploy/kubernetes.yaml').replace(/^( *cgroup: ).*$/m, `$1${facts.cgroup}`);

/** Installs the agent, or what is missing of it, and waits until it is ready. */
export async function installAgent(): Promise<void> {
  await kubectl(['apply', '-f', '-'], AGENT);
  await kubectl(['-n', 'meshtap', 'rollout', 'status', 'daemonset/meshtap', '--timeout=180s']);
}

/** One scrape of the agent. */
export async function scrape(): Promise<Page> {
  const response = await fetch(METRICS);
  const body = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${body}`);
  return new Page(body);
}

/** Waits, for up to three minutes, until something does not throw and is not false. */
export async function until<T>(what: string, check: () => Promise<T>): Promise<T> {
  const end = Date.now() + 180_000;
  for (;;) {
    try {
      const found = await check();
      if (found !== false) return found;
      if (Date.now() > end) throw new Error(`${what}: never`);
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await sleep(250);
  }
}
