import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.js';

export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Prometheus extends AsyncDisposable {
  readonly url: string;
  /** An instant query: what it gives at a moment (seconds since the epoch). @default now */
  query(expression: string, at?: number): Promise<Series[]>;
  /** What a query gives over a stretch of time that ends now: for each series its values, one for each step. */
  queryRange(expression: string, seconds: number, step: number): Promise<{ values: number[] }[]>;
  /** All rules, with their health and the last error. */
  rules(): Promise<{ name: string; health: string; error: string; firing: Series['metric'][] }[]>;
  /** The health of the targets, with the last error of each. */
  targets(): Promise<{ url: string; health: string; error: string }[]>;
}

export interface PrometheusOptions {
  /** Seconds between scrapes, and between evaluations of rules. @default 1 */
  interval?: number;
  /** Texts of rule files. @default none */
  rules?: readonly string[];
  /** More of the command line. @default none */
  flags?: readonly string[];
}

/**
 * A real Prometheus that scrapes these targets into a directory of its own, and evaluates rules.
 */
export async function startPrometheus(
  targets: readonly { job: string; address: string; config?: Record<string, unknown> }[],
  { interval = 1, rules = [], flags = [] }: PrometheusOptions = {},
): Promise<Prometheus> {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-prometheus-'));
  const scrapes = targets.map(({ job, address, config }) => {
    const { protocol, host, pathname } = new URL(address);
    return {
      job_name: job,
      scheme: protocol.slice(0, -1),
      metrics_path: pathname,
      static_configs: [{ targets: [host] }],
      ...config,
    };
  });
  const ruleFiles = rules.map((text, i) => {
    const file = join(directory, `rules-${i}.yaml`);
    writeFileSync(file, text);
    return file;
  });
  // JSON is YAML.
  writeFileSync(
    join(directory, 'prometheus.yml'),
    JSON.stringify({
      global: {
        scrape_interval: `${interval}s`,
        scrape_timeout: `${interval}s`,
        evaluation_interval: `${interval}s`,
      },
      rule_files: ruleFiles,
      scrape_configs: scrapes,
    }),
  );
  const port = await freePort();
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
      ...flags,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    await ended(child);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await until(async () => (await fetch(`${url}/-/ready`)).ok, child);
  } catch (error) {
    await stop();
    throw error;
  }
  const api = async (path: string): Promise<unknown> => {
    const answer = (await (await fetch(`${url}/api/v1/${path}`)).json()) as Record<string, unknown>;
    if (answer.status !== 'success') throw new Error(JSON.stringify(answer));
    return answer.data;
  };
  return {
    url,
    async query(expression, at) {
      const time = at === undefined ? '' : `&time=${at}`;
      const data = (await api(`query?query=${encodeURIComponent(expression)}${time}`)) as {
        result: { metric: Record<string, string>; value: [number, string] }[];
      };
      return data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
    },
    async queryRange(expression, seconds, step) {
      const end = Date.now() / 1000;
      const range = `start=${end - seconds}&end=${end}&step=${step}`;
      const data = (await api(`query_range?query=${encodeURIComponent(expression)}&${range}`)) as {
        result: { values: [number, string][] }[];
      };
      return data.result.map(({ values }) => ({ values: values.map(([, value]) => Number(value)) }));
    },
    async rules() {
      interface Rule {
        name: string;
        health: string;
        lastError?: string;
        alerts?: { state: string; labels: Record<string, string> }[];
      }
      const { groups } = (await api('rules')) as { groups: { rules: Rule[] }[] };
      return groups.flatMap(({ rules }) =>
        rules.map(({ name, health, lastError = '', alerts = [] }) => ({
          name,
          health,
          error: lastError,
          firing: alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels),
        })),
      );
    },
    async targets() {
      const data = (await api('targets')) as {
        activeTargets: { scrapeUrl: string; health: string; lastError: string }[];
      };
      return data.activeTargets.map(({ scrapeUrl, health, lastError }) => ({
        url: scrapeUrl,
        health,
        error: lastError,
      }));
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function until(ready: () => Promise<boolean>, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`prometheus ended with ${child.exitCode}`);
    if (await ready().catch(() => false)) return;
    await sleep(50);
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill();
  await exit;
}
