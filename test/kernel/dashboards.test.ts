/**
 * The dashboards and rules of every dialect on real Prometheus servers, which scrape the demo while connects are
 * refused, connections reset and segments lost: every query has an answer, and the answers are what the services, the
 * faulty client and the kernel counted themselves.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { makeCgroup } from '../support/cgroup.js';
import { startMeshtap } from '../support/cli.js';
import {
  type Dashboard,
  DIALECTS,
  type DialectName,
  dashboardsOf,
  filledIn,
  panelsOf,
  ruleFilesOf,
  rulesOf,
} from '../support/dashboards.js';
import { Island } from '../support/island.js';
import { type Prometheus, type Series, startPrometheus } from '../support/prometheus.js';

/** Seconds that the rules' five minutes are here, and how often Prometheus looks. */
const WINDOW = 30;
const STEP = 2;
const PER_SECOND = 50;
/** Of gRPC. */
const UNAVAILABLE = 14;
const TESTS = join(import.meta.dirname, '..');
/** Seconds until what has no answer is taken to have none. */
const PATIENCE = 20;

/** The rules with minutes for hours, so that all windows are full soon; names stay as they are. */
function hastened(text: string): string {
  const shorter: Record<string, string> = { '5m': `${WINDOW}s`, '10m': '5s' };
  const scaled = (duration: string) => shorter[duration] ?? `${WINDOW}s`;
  return text
    .replaceAll(/\[(\d+[mhd])\]/g, (_, duration: string) => `[${scaled(duration)}]`)
    .replaceAll(/offset \d+m/g, 'offset 5s')
    .replaceAll(/^( +)interval: .*$/gm, `$1interval: ${STEP}s`)
    .replaceAll(/^( +)for: .*$/gm, '$1for: 2s');
}

/** docs/dashboards.md lists what has no answer here. */
function rightlyEmpty(): Set<string> {
  const [, table = ''] =
    /## Rightly empty(.*?)\n## /s.exec(
      readFileSync(join(import.meta.dirname, '../../docs/dashboards.md'), 'utf8'),
    ) ?? [];
  return new Set(
    [...table.matchAll(/^\| `([\w-]+)` \| ([^|]+) \|/gm)].flatMap(([, uid, titles]) =>
      [...titles!.matchAll(/`([^`]+)`/g)].map(([, title]) => `${uid}: ${title}`),
    ),
  );
}

/** All that a reader could choose: each service, each pair. */
async function choices({ uid }: Dashboard, prometheus: Prometheus): Promise<Record<string, string>[]> {
  if (uid === 'meshtap-service')
    return (await series(prometheus, 'service:meshtap_info')).map(({ metric }) => ({
      service: metric.service!,
    }));
  if (uid === 'meshtap-pair')
    return (await series(prometheus, 'edge:meshtap_info')).map(({ metric }) => ({
      source: metric.source_service!,
      destination: metric.destination_service!,
    }));
  return [{}];
}

/**
 * The panels with a query that has no answer, whatever the reader chooses. Throws if one is refused. What should have
 * an answer is asked again until it has.
 */
async function unanswered(
  dialect: DialectName,
  prometheus: Prometheus,
  expected: ReadonlySet<string>,
): Promise<Set<string>> {
  const empty = new Set<string>();
  for (const dashboard of dashboardsOf(dialect)) {
    const all = await choices(dashboard, prometheus);
    for (const { title, targets } of panelsOf(dashboard))
      for (const { expr, range } of targets) {
        const panel = `${dashboard.uid}: ${title}`;
        const answers = async () => {
          let found = 0;
          for (const values of all) {
            const query = filledIn(expr, { ...values, __rate_interval: `${WINDOW}s` });
            const answer = range
              ? await prometheus.queryRange(query, 10, STEP)
              : await prometheus.query(query);
            found += answer.length;
          }
          return found;
        };
        for (let tries = 0; (await answers()) === 0; await sleep(1000)) {
          if (tries++ < PATIENCE && !expected.has(panel)) continue;
          empty.add(panel);
          break;
        }
      }
  }
  return empty;
}

/** What `label_values` of each variable gives. */
async function offered(dialect: DialectName, prometheus: Prometheus): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const { templating } of dashboardsOf(dialect))
    for (const { name, query } of templating.list) {
      if (typeof query === 'string') continue;
      const [, metric, label] = /^label_values\((.*), (\w+)\)$/.exec(query.query)!;
      const all = await series(prometheus, filledIn(metric!, { source: 'productpage' }));
      found.set(name, [...new Set(all.flatMap((one) => one.metric[label!] ?? []))].sort());
    }
  return found;
}

/** What a query gives, once it gives so many series. On a busy machine a scrape fails, and there is a gap for a moment. */
async function series(prometheus: Prometheus, query: string, atLeast = 1): Promise<Series[]> {
  for (;;) {
    const found = await prometheus.query(query);
    if (found.length >= atLeast) return found;
    await sleep(500);
  }
}

const value = async (prometheus: Prometheus, query: string) => (await series(prometheus, query))[0]!.value;

const timeout = 600_000 * Number(process.env.MESHTAP_TIME_SCALE ?? 1);

test('every query is answered, with what was counted elsewhere', { timeout }, async () => {
  const { path } = makeCgroup('dashboards');
  using island = new Island();
  const demo = startMeshtap(['demo', '--cgroup', path, '--prometheus', `${island.address}:0`], {
    within: island.entering,
  });
  onTestFinished(async () => void (await demo.stop()));
  const [, address] = await demo.says(/prometheus: (http:\S+)/);
  const started = await Promise.all(
    DIALECTS.map(async (dialect) => {
      const rules = ruleFilesOf(dialect).map((file) => hastened(readFileSync(file, 'utf8')));
      return [
        dialect,
        await startPrometheus([{ job: 'meshtap', address: address! }], { interval: STEP, rules }),
      ] as const;
    }),
  );
  await using _all = {
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map(([, prometheus]) => prometheus[Symbol.asyncDispose]()));
    },
  };
  const servers = new Map(started);
  const otel = servers.get('otel')!;

  // Where everybody listens, from meshtap's own labels.
  const ports = new Map<string, number>();
  while (ports.size < 4) {
    await sleep(200);
    for (const { metric } of await otel.query('http_server_request_duration_seconds_count'))
      ports.set(metric.destination_service!, Number(metric.server_port));
  }

  const processes: ChildProcess[] = [];
  const stopOthers = () =>
    Promise.all(
      processes.map(async (child) => {
        const ended = once(child, 'exit');
        if (child.exitCode === null && child.kill()) await ended;
      }),
    );
  onTestFinished(async () => void (await stopOthers()));
  /** Runs a script as another service of the demo. */
  const inside = (service: string, script: string, ...args: string[]) => {
    const settle = 'mkdir -p "$1" && echo $BASHPID > "$1/cgroup.procs" && shift && exec "$@"';
    const cgroup = join(path, `meshtap-demo-${demo.pid}`, service);
    const command = [...island.entering, process.execPath, join(TESTS, script), ...args];
    const child = spawn('bash', ['-c', settle, '-', cgroup, ...command], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.setEncoding('utf8');
    processes.push(child);
    return child;
  };

  // From here on there are faults, and gRPC: a call now and then, every fourth of which fails.
  island.lose(100, [...ports.values()]);
  const faults = inside('load', 'support/faults-process.js', String(ports.get('productpage')));
  const pricing = inside('pricing', 'fixtures/grpc/server.js');
  const [port] = await once(pricing.stdout, 'data');
  const plan = Array.from({ length: 240 }, (_, i) => ({
    method: 'Say',
    calls: 1,
    after: i * 800,
    code: i % 4 === 3 ? UNAVAILABLE : 0,
  }));
  inside('load', 'fixtures/grpc/client.js', `127.0.0.1:${port.trim()}`, JSON.stringify(plan));
  let told = '';
  faults.stdout.on('data', (text: string) => {
    told = text;
  });
  const mischief = () => JSON.parse(told.trim().split('\n').at(-1)!) as { refused: number; reset: number };

  /** How many requests each service has had, as it answers to one more. */
  const served = () =>
    Object.fromEntries(
      [...ports].map(([service, port]) => {
        const url = `http://127.0.0.1:${port}/`;
        const [command, ...rest] = [...island.entering, 'curl', '-s', '--max-time', '30', url];
        return [service, Number(execFileSync(command!, rest, { encoding: 'utf8' }))];
      }),
    );
  const counted = () => ({
    at: Date.now(),
    served: served(),
    mischief: mischief(),
    resent: island.retransmits(),
  });

  // Everything has been as it is for a whole window, and then for one more that is measured.
  const seen = 'sum(http_server_request_duration_seconds_count{destination_service="details"})';
  const until = async (requests: number) => {
    while ((await value(otel, seen)) < requests || told === '') await sleep(500);
  };
  await until(WINDOW * PER_SECOND);
  const before = counted();
  while (Date.now() - before.at < WINDOW * 1000) await sleep(100);
  const now = await Promise.all(
    [...servers].map(async ([dialect, prometheus]) => ({
      dialect,
      requests: await series(prometheus, 'service:meshtap_requests:rate5m', ports.size),
      ratio: await series(prometheus, 'service:meshtap_errors:ratio_rate5m', ports.size),
      p99: await series(prometheus, 'service:meshtap_request_duration_seconds:p99_5m', ports.size),
    })),
  );
  const refused = await value(otel, 'sum(edge:meshtap_tcp_connect_failures:rate5m{error_type="refused"})');
  const reset = await value(
    otel,
    'sum(edge:meshtap_tcp_connections_broken:rate5m{error_type="connection_reset"})',
  );
  const resent = await value(otel, 'sum(edge:meshtap_tcp_retransmits:rate5m)');
  const after = counted();
  const seconds = (after.at - before.at) / 1000;

  /** Prometheus' window may begin and end a few steps apart from ours. */
  const agrees = (rate: number, from: number, to: number, perSecond: number, what: string) => {
    const most = (2 * STEP + seconds - WINDOW) * perSecond;
    expect(Math.abs(rate * WINDOW - (to - from)), `${what}: ${rate}/s, ${to - from}`).toBeLessThanOrEqual(
      most,
    );
  };
  for (const { dialect, requests, ratio, p99 } of now) {
    const by = (series: typeof requests) =>
      new Map(series.map(({ metric, value }) => [metric.service, value]));
    const rates = by(requests);
    for (const service of ports.keys()) {
      const [from, to] = [before.served[service]!, after.served[service]!];
      agrees(rates.get(service)!, from, to, PER_SECOND, `${dialect} ${service}`);
    }
    // The schedule of the demo: one in 25 and one in 50 fail, one in 40 is slow.
    expect(Math.abs(by(ratio).get('ratings')! - 1 / 25), dialect).toBeLessThan(0.01);
    expect(Math.abs(by(ratio).get('reviews')! - 1 / 50), dialect).toBeLessThan(0.01);
    expect(Math.abs(by(ratio).get('pricing')! - 1 / 4), dialect).toBeLessThan(0.06);
    expect(by(ratio).get('details'), dialect).toBe(0);
    expect(by(p99).get('ratings')!, dialect).toBeGreaterThan(0.25);
  }
  agrees(refused, before.mischief.refused, after.mischief.refused, 5, 'refused');
  agrees(reset, before.mischief.reset, after.mischief.reset, 4, 'reset');
  // The kernel's own count has everybody's in there, curl's too, and sees them sooner.
  const again = (resent * WINDOW) / (after.resent - before.resent);
  expect(again).toBeGreaterThan(0.5);
  expect(again).toBeLessThan(1.5);

  // What Grafana would ask.
  const empty = rightlyEmpty();
  const found = new Set<string>();
  for (const [dialect, prometheus] of servers)
    for (const panel of await unanswered(dialect, prometheus, empty)) {
      expect.soft(empty, `${dialect} ${panel}`).toContain(panel);
      found.add(panel);
    }
  expect([...empty].sort()).toEqual([...found].sort());

  for (const [dialect, prometheus] of servers) {
    const variables = await offered(dialect, prometheus);
    expect(variables.get('service'), dialect).toEqual(expect.arrayContaining(['load', ...ports.keys()]));
    expect(variables.get('source'), dialect).toEqual(['load', 'productpage', 'reviews', 'unknown']);
    expect(variables.get('destination'), dialect).toEqual(['details', 'reviews']);
    expect(variables.get('instance'), dialect).toHaveLength(1);

    const rules = await prometheus.rules();
    expect(rules).toHaveLength(rulesOf(dialect).length);
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
    // All that is recorded, but the objectives of one's own, which nobody has here.
    for (const { record } of rulesOf(dialect)) if (record) await series(prometheus, record);
    const firing = (name: string) => rules.find((rule) => rule.name === name)!.firing;
    const burning = firing('MeshtapErrorBudgetBurnsFast').map(({ service }) => service);
    expect(burning, dialect).toEqual(expect.arrayContaining(['pricing', 'ratings', 'reviews']));
    expect(burning, dialect).not.toContain('details');
    expect(firing('MeshtapAgentDown')).toEqual([]);
    expect(firing('MeshtapCoverageLow')).toEqual([]);
  }
  const alerts = await otel.rules();
  const failing = alerts.find(({ name }) => name === 'MeshtapConnectFailures')!.firing;
  expect(failing).toMatchObject([{ source_service: 'load', destination_service: 'unknown' }]);

  await stopOthers();
  await demo.stop();
  for (;;) {
    const down = (await otel.rules()).find(({ name }) => name === 'MeshtapAgentDown')!.firing;
    if (down.length > 0) break;
    await sleep(500);
  }
});
