/**
 * How fast the dashboards are on a large cluster: `npx tsx bench/dashboards.ts [services]`. Fills a real Prometheus with
 * so many services (1,000 if nothing is said; each is asked by three others), evaluates the recording rules over them,
 * and asks every query of every panel as Grafana would for the last 45 minutes. Prints how long rules and queries took
 * (of three times the least, which other work on the machine disturbs least), and what one costs without rules.
 *
 * All grows evenly, so what a rule gives now is what it gave all the time: it is evaluated once and written for the whole
 * history. Series that only rules read have as much of it as these need; the services looked at one by one have all.
 */

import { labelName, metricName } from '../src/exporters/prometheus-names.js';
import { otel } from '../src/metrics/dialects/otel.js';
import type { MetricFamily } from '../src/metrics/family.js';
import { resolve } from '../src/metrics/model.js';
import { agentProcess, ledger } from '../src/metrics/self.js';
import type { Counts } from '../src/receivers/counts.js';
import { counts, histogram, http, identifyNamed, named, pair, tcp } from '../test/support/counts.js';
import { dashboardsOf, filledIn, panelsOf, rulesOf } from '../test/support/dashboards.js';
import { startPrometheus } from '../test/support/prometheus.js';
import { type History, remoteWrite } from './remote-write.js';

const SERVICES = Number(process.argv[2] ?? 1_000);
const CLIENTS = 3;
const SERVICES_PER_NODE = 10;
/** Seconds. Prometheus takes no samples that are an hour older than its newest. */
const STEP = 60;
const HISTORY = 50 * 60;
/** What Grafana asks of a panel for 45 minutes, where it knows of no longer step. */
const PANEL = { seconds: 45 * 60, step: 15 };
const CHOSEN = {
  service: 'service-500',
  source: 'service-499',
  destination: 'service-500',
  __rate_interval: '4m',
};

/** What the rules look back, and some more. */
const LOOKED_BACK = 10 * 60;

const end = Math.floor(Date.now() / 1000);
const times = Array.from({ length: HISTORY / STEP + 1 }, (_, i) => end - HISTORY + i * STEP);

/** What the agent of one node has counted after an hour. */
function node(index: number): Counts {
  const service = (i: number) => `service-${((i % SERVICES) + SERVICES) % SERVICES}`;
  const here = Array.from({ length: SERVICES_PER_NODE }, (_, i) => index * SERVICES_PER_NODE + i);
  const seen = histogram(Array.from({ length: 5_000 }, (_, i) => 0.0001 * 1.0025 ** (i % 4_500)));
  const few = histogram([0.0002, 0.0004, 0.02]);
  const end = (i: number) => named(service(i), `team-${i % 20}`, service(i));
  const pairs = here.flatMap((i) =>
    Array.from({ length: CLIENTS }, (_, c) => [
      pair('server', end(i), end(i - c - 1), 8080),
      pair('client', end(i), end(i + c + 1), 8080),
    ]).flat(),
  );
  return counts({
    http: pairs.flatMap((one) => [
      http(one, { status: 200, duration: seen }),
      http(one, { status: 503, duration: few }),
    ]),
    tcp: pairs.map((one) =>
      tcp(one, {
        opened: 500,
        closed: 490,
        reset: 5,
        retransmits: 20,
        tls: 0,
        tlsDecoded: 0,
        bytesSent: 1e9,
        bytesReceived: 1e7,
        rtt: few,
        ...(one.role === 'client' && { connect: few, refused: 3 }),
      }),
    ),
    ledger: (['client', 'server'] as const).flatMap((role) =>
      ['seen', 'answered', 'failed', 'desynchronised', 'pipeline_full'].map((outcome) => ({
        role,
        subject: 'requests',
        outcome,
        count: { seen: 1e5, answered: 1e5 - 10, failed: 5 }[outcome] ?? 1,
      })),
    ),
    budgets: ['pairs', 'series'].map((name) => ({ name, used: 120, limit: 2046 })),
  } as Partial<Counts>);
}

/** The series that a scrape of this would give, which grew evenly to what they are. */
function* historyOf(families: readonly MetricFamily[], target: Record<string, string>): Iterable<History> {
  const grown = (value: number) => times.map((at, i) => [at, (value * i) / times.length] as const);
  const kept = (one: History): History =>
    Object.values(one.labels).some((value) => value === CHOSEN.service || value === CHOSEN.source)
      ? one
      : { ...one, samples: one.samples.filter(([at]) => at > end - LOOKED_BACK) };
  for (const family of families) {
    const name = family.prometheusName ?? metricName(family.name, family.unit, family.type);
    for (const point of family.points) {
      const attributes = Object.entries(point.attributes).map(([key, value]) => [
        labelName(key),
        String(value),
      ]);
      const labels = { ...Object.fromEntries(attributes), ...target };
      if (family.type !== 'histogram') {
        const { value } = point as { value: number };
        const samples = family.type === 'counter' ? grown(value) : times.map((at) => [at, value] as const);
        yield { labels: { ...labels, __name__: name }, samples };
        continue;
      }
      const { buckets, count, sum } = point as { buckets: ArrayLike<number>; count: number; sum: number };
      let below = 0;
      for (const [i, n] of Array.from(buckets).entries()) {
        below += n;
        const le = String(family.boundaries[i] ?? '+Inf');
        yield kept({ labels: { ...labels, __name__: `${name}_bucket`, le }, samples: grown(below) });
      }
      yield kept({ labels: { ...labels, __name__: `${name}_count` }, samples: grown(count) });
      yield kept({ labels: { ...labels, __name__: `${name}_sum` }, samples: grown(sum) });
    }
  }
}

function* everything(): Iterable<History> {
  for (let i = 0; i < SERVICES / SERVICES_PER_NODE; i++) {
    const target = { job: 'meshtap', instance: `node-${i}:9464` };
    const one = node(i);
    const families = [...otel().families(resolve(one, identifyNamed())), ...ledger(one), ...agentProcess()];
    yield* historyOf(families, target);
    yield { labels: { ...target, __name__: 'up' }, samples: times.map((at) => [at, 1] as const) };
  }
}

interface Result {
  readonly metric: Readonly<Record<string, string>>;
  /** Of an instant query. */
  readonly value: readonly [at: number, value: string];
}

await using prometheus = await startPrometheus([], {
  flags: ['--web.enable-remote-write-receiver', '--query.max-samples=500000000', '--query.timeout=10m'],
});

/** CPU seconds of Prometheus, which other work on the machine hardly changes. */
async function cpuTime(): Promise<number> {
  const text = await (await fetch(`${prometheus.url}/metrics`)).text();
  return Number(/^process_cpu_seconds_total (\S+)$/m.exec(text)?.[1]);
}

async function ask(path: 'query' | 'query_range', query: string, parameters: Record<string, number>) {
  const body = new URLSearchParams({ query });
  for (const [name, value] of Object.entries(parameters)) body.set(name, String(value));
  const before = await cpuTime();
  const start = performance.now();
  const answer = (await (
    await fetch(`${prometheus.url}/api/v1/${path}`, { method: 'POST', body })
  ).json()) as {
    error?: string;
    data: { result: Result[] };
  };
  if (answer.error) throw new Error(`${query}: ${answer.error}`);
  const seconds = (performance.now() - start) / 1000;
  return { seconds, cpu: (await cpuTime()) - before, result: answer.data.result };
}

const say = (line: string) => process.stdout.write(`${line}\n`);

interface Took {
  readonly title: string;
  readonly seconds: number;
  readonly cpu: number;
}
const both = ({ seconds, cpu }: Pick<Took, 'seconds' | 'cpu'>) =>
  `${seconds.toFixed(3)} s (${cpu.toFixed(2)} s of CPU)`;

const written = await remoteWrite(prometheus.url, everything());
say(`${SERVICES} services, ${written} series`);

// Groups in the order in which they stand on each other.
const first = (name = '') =>
  /^(edge|agent|meshtap:)/.test(name) ? 0 : /ratio_rate\d+[mhd]|objective/.test(name) ? 2 : 1;
const recording = rulesOf('otel').filter(({ record }) => record);
recording.sort((a, b) => first(a.record) - first(b.record));
const evaluation = { seconds: 0, cpu: 0 };
let recorded = 0;
for (const { record, expr, labels } of recording) {
  const { seconds, cpu, result } = await ask('query', expr, { time: end });
  evaluation.seconds += seconds;
  evaluation.cpu += cpu;
  const history = result.map(({ metric, value }) => ({
    labels: { ...metric, ...labels, __name__: record! },
    samples: times.map((at) => [at, Number(value[1])] as const),
  }));
  recorded += await remoteWrite(prometheus.url, history);
}
say(`${recording.length} recording rules make ${recorded} series; all of them once: ${both(evaluation)}\n`);

const TIMES = 3;
const all: Took[] = [];
for (const dashboard of dashboardsOf('otel')) {
  const took: Took[] = [];
  for (const { title, targets, interval } of panelsOf(dashboard))
    for (const target of targets) {
      const query = filledIn(target.expr, CHOSEN);
      const step = interval === undefined ? PANEL.step : Number(interval.replace('s', ''));
      const range = { start: end - PANEL.seconds, end, step };
      let least: Took = { title, seconds: Infinity, cpu: Infinity };
      for (let i = 0; i < TIMES; i++) {
        const { seconds, cpu } = await ask(
          target.range ? 'query_range' : 'query',
          query,
          target.range ? range : { time: end },
        );
        least = { title, seconds: Math.min(least.seconds, seconds), cpu: Math.min(least.cpu, cpu) };
      }
      took.push(least);
    }
  const worst = took.reduce((a, b) => (a.seconds > b.seconds ? a : b));
  const sum = took.reduce((a, b) => ({ title: '', seconds: a.seconds + b.seconds, cpu: a.cpu + b.cpu }));
  all.push(...took);
  const count = String(took.length).padStart(3);
  say(`${dashboard.uid.padEnd(17)} ${count} queries: ${both(sum)}; slowest ${both(worst)}, ${worst.title}`);
}
say(`\nslowest query of all: ${both(all.reduce((a, b) => (a.seconds > b.seconds ? a : b)))}`);

const without =
  'topk(10, histogram_quantile(0.99, sum by (le, destination_service) (rate(http_server_request_duration_seconds_bucket[4m]))))';
say(
  `“p99 by service” without rules, at a single moment: ${both(await ask('query', without, { time: end }))}`,
);
