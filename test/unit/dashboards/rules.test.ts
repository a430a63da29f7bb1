/** What the rules record and when they alert, as `promtool test rules` sees it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { DIALECTS, type DialectName, ruleFilesOf, rulesOf } from '../../support/dashboards.js';

interface Series {
  readonly series: string;
  readonly values: string;
}

interface Expected {
  readonly alert: string;
  /** None: it must not fire. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly summary?: string;
}

const labels = (all: Readonly<Record<string, string>>) =>
  `{${Object.entries(all)
    .map(([name, value]) => `${name}="${value}"`)
    .join(',')}}`;

interface Request {
  readonly source?: string;
  readonly destination?: string;
  /** Empty: no answer. */
  readonly status?: string;
  readonly side?: 'server' | 'client';
  readonly values: string;
}

/** Requests in the words of a dialect. */
function requests(dialect: DialectName, one: Request): Series {
  const { source = 'shop', destination = 'cart', status = '200', side = 'server', values } = one;
  const ends = { source_service: source, destination_service: destination };
  switch (dialect) {
    case 'otel': {
      const failed = Number(status) >= (side === 'server' ? 500 : 400) ? status : status ? '' : 'timeout';
      const all = {
        ...ends,
        ...(status && { http_response_status_code: status }),
        ...(failed && { error_type: failed }),
      };
      return { series: `http_${side}_request_duration_seconds_count${labels(all)}`, values };
    }
    case 'hubble':
      return { series: `hubble_http_requests_total${labels({ ...ends, status, reporter: side })}`, values };
    case 'istio': {
      const reporter = side === 'server' ? 'destination' : 'source';
      const all = {
        reporter,
        source_service: source,
        destination_service: `${destination}.svc`,
        destination_service_name: destination,
        response_code: status || '0',
      };
      return { series: `istio_requests_total${labels(all)}`, values };
    }
  }
}

const BUCKETS = {
  otel: { metric: 'http_server_request_duration_seconds_bucket', scale: 1, more: {} },
  hubble: { metric: 'hubble_http_request_duration_seconds_bucket', scale: 1, more: {} },
  istio: {
    metric: 'istio_request_duration_milliseconds_bucket',
    scale: 1000,
    more: { reporter: 'destination', destination_service_name: 'cart' },
  },
} as const;

/** All requests take between `from` and `to` seconds. */
function durations(dialect: DialectName, from: number, to: number, values: string): Series[] {
  const { metric, scale, more } = BUCKETS[dialect];
  const ends = { source_service: 'shop', destination_service: 'cart', ...more };
  const bucket = (le: string, counts: string) => ({
    series: `${metric}${labels({ ...ends, le })}`,
    values: counts,
  });
  return [bucket(String(from * scale), '0x400'), bucket(String(to * scale), values), bucket('+Inf', values)];
}

interface Case {
  readonly series: readonly Series[];
  readonly at: string;
  readonly alerts?: readonly Expected[];
  readonly values?: readonly { readonly expr: string; readonly samples: Readonly<Record<string, number>> }[];
  /** Rules of the user's own, beside the defaults. */
  readonly objectives?: readonly { record: string; expr: string; labels: Record<string, string> }[];
}

/** Has promtool evaluate all rules of a dialect, minute by minute; its report, or nothing if all is as expected. */
function problems(
  dialect: DialectName,
  { series, at, alerts = [], values = [], objectives = [] }: Case,
): string {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-rules-'));
  try {
    const own = join(directory, 'own.yaml');
    writeFileSync(own, stringify({ groups: [{ name: 'own', rules: objectives }] }));
    const files = [...ruleFilesOf(dialect), own];
    const groups = files.flatMap(
      (file) => (parse(readFileSync(file, 'utf8')) as { groups: { name: string }[] }).groups,
    );
    // Objectives stand on requests, alerts on all.
    const rank = (name: string) =>
      ['own', 'meshtap-objectives-of-your-own', 'meshtap-requests'].indexOf(name);
    const order = groups
      .map(({ name }) => name)
      .sort((a, b) => (rank(a) < 0 ? 9 : rank(a)) - (rank(b) < 0 ? 9 : rank(b)));
    const rules = rulesOf(dialect);
    const annotations = ({ alert, summary = '' }: Expected) => ({
      ...rules.find((rule) => rule.alert === alert)!.annotations,
      summary,
    });
    const file = join(directory, 'test.yaml');
    writeFileSync(
      file,
      stringify({
        rule_files: files,
        evaluation_interval: '1m',
        group_eval_order: order,
        tests: [
          {
            interval: '1m',
            input_series: series,
            alert_rule_test: alerts.map((expected) => ({
              eval_time: at,
              alertname: expected.alert,
              exp_alerts: expected.labels
                ? [{ exp_labels: expected.labels, exp_annotations: annotations(expected) }]
                : [],
            })),
            promql_expr_test: values.map(({ expr, samples }) => ({
              expr,
              eval_time: at,
              exp_samples: Object.entries(samples).map(([labels, value]) => ({ labels, value })),
            })),
          },
        ],
      }),
    );
    try {
      execFileSync('promtool', ['test', 'rules', file], { encoding: 'utf8', stdio: 'pipe' });
      return '';
    } catch (error) {
      return `${(error as { stderr: string }).stderr}${(error as { stdout: string }).stdout}`;
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const CART = { service: 'cart' };
const FAST = 'MeshtapErrorBudgetBurnsFast';
const SLOW = 'MeshtapErrorBudgetBurnsSlowly';
const LATENCY = 'MeshtapLatencyObjectiveMissed';

describe.each(DIALECTS)('%s', (dialect) => {
  const request = (one: Request) => requests(dialect, one);

  test('records what passes between services, and what of it fails', () => {
    const series = [
      request({ values: '0+600x30' }),
      request({ values: '0+60x30', status: '500' }),
      request({ values: '0+60x30', status: '' }),
      request({ values: '0+60x30', status: '404' }),
      request({ values: '0+60x30', source: 'cart', destination: 'stock' }),
    ];
    const edge = (name: string, source: string, destination: string) =>
      `edge:meshtap_${name}:rate5m{source_service="${source}", destination_service="${destination}"}`;
    expect(
      problems(dialect, {
        series,
        at: '20m',
        values: [
          {
            expr: 'edge:meshtap_requests:rate5m',
            samples: { [edge('requests', 'shop', 'cart')]: 13, [edge('requests', 'cart', 'stock')]: 1 },
          },
          {
            expr: 'edge:meshtap_errors:rate5m',
            samples: { [edge('errors', 'shop', 'cart')]: 2, [edge('errors', 'cart', 'stock')]: 0 },
          },
          {
            expr: 'service:meshtap_errors:rate5m',
            samples: {
              'service:meshtap_errors:rate5m{service="cart"}': 2,
              'service:meshtap_errors:rate5m{service="stock"}': 0,
            },
          },
          {
            expr: 'round(service:meshtap_errors:ratio_rate1h{service="cart"}, 0.0001)',
            samples: { '{service="cart"}': 0.1538 },
          },
        ],
      }),
    ).toBe('');
  });

  test('says that an error budget burns fast, and that it has stopped', () => {
    const burning = [request({ values: '0+900x60' }), request({ values: '0+100x60', status: '503' })];
    expect(
      problems(dialect, {
        series: burning,
        at: '30m',
        alerts: [
          {
            alert: FAST,
            labels: { ...CART, severity: 'critical' },
            summary: 'cart fails 10% of its requests',
          },
        ],
      }),
    ).toBe('');
    const over = [request({ values: '0+900x90' }), request({ values: '0+100x20 2000x70', status: '503' })];
    expect(problems(dialect, { series: over, at: '60m', alerts: [{ alert: FAST }] })).toBe('');
  });

  test('says that an error budget burns slowly', () => {
    const series = [request({ values: '0+9960x200' }), request({ values: '0+40x200', status: '500' })];
    expect(
      problems(dialect, {
        series,
        at: '180m',
        alerts: [
          { alert: FAST },
          {
            alert: SLOW,
            labels: { ...CART, severity: 'warning' },
            summary: 'cart fails 0.4% of its requests, for hours',
          },
        ],
      }),
    ).toBe('');
  });

  test('is quiet where all is well, and about those whom nobody knows', () => {
    const series = [
      request({ values: '0+100000x200' }),
      request({ values: '0+5x200', status: '500' }),
      request({ values: '0+100x200', destination: 'unknown', status: '500' }),
      request({ values: '0+100x200', destination: 'world', status: '500' }),
      ...durations(dialect, 0.1, 0.5, '0+100000x200'),
      { series: 'up{job="meshtap", instance="a"}', values: '1x200' },
      { series: 'up{job="other", instance="b"}', values: '0x200' },
      { series: 'meshtap_budget_used{budget="pairs", instance="a"}', values: '50x200' },
      { series: 'meshtap_budget_limit{budget="pairs", instance="a"}', values: '100x200' },
    ];
    const names = rulesOf(dialect).flatMap(({ alert }) => alert ?? []);
    expect(names.length).toBeGreaterThan(5);
    expect(problems(dialect, { series, at: '180m', alerts: names.map((alert) => ({ alert })) })).toBe('');
  });

  test('goes by the objective that a service has of its own', () => {
    const series = [
      request({ values: '0+950x60' }),
      request({ values: '0+50x60', status: '500' }),
      ...durations(dialect, 1, 2, '0+1000x60'),
    ];
    const objectives = [
      { record: 'meshtap:objective_availability:own', expr: 'vector(0.9)', labels: CART },
      { record: 'meshtap:objective_p99_seconds:own', expr: 'vector(5)', labels: CART },
    ];
    const late = {
      alert: LATENCY,
      labels: { ...CART, severity: 'warning' },
      summary: 'p99 of cart is 1.99s',
    };
    const fails = '5% of its requests';
    expect(
      problems(dialect, {
        series,
        at: '40m',
        alerts: [
          { alert: FAST, labels: { ...CART, severity: 'critical' }, summary: `cart fails ${fails}` },
          late,
        ],
      }),
    ).toBe('');
    expect(
      problems(dialect, { series, at: '40m', objectives, alerts: [{ alert: FAST }, { alert: LATENCY }] }),
    ).toBe('');
  });

  test('says what is wrong with an agent', () => {
    const ledger = (outcome: string, values: string) => ({
      series: `meshtap_ledger_entries_total${labels({ instance: 'a', role: 'server', subject: 'requests', outcome })}`,
      values,
    });
    const series = [
      { series: 'up{job="shop/meshtap", instance="a"}', values: '1x10 0x50' },
      { series: 'meshtap_budget_used{budget="series", instance="a"}', values: '95x60' },
      { series: 'meshtap_budget_limit{budget="series", instance="a"}', values: '100x60' },
      ledger('answered', '0+9500x60'),
      ledger('seen', '0+10000x60'),
      ledger('desynchronised', '0+500x60'),
    ];
    expect(
      problems(dialect, {
        series,
        at: '40m',
        alerts: [
          {
            alert: 'MeshtapAgentDown',
            labels: { instance: 'a', job: 'shop/meshtap', severity: 'critical' },
            summary: 'a is not there',
          },
          {
            alert: 'MeshtapBudgetNearlySpent',
            labels: { instance: 'a', budget: 'series', severity: 'warning' },
            summary: 'a has used 95% of its budget of series',
          },
          {
            alert: 'MeshtapCoverageLow',
            labels: { instance: 'a', severity: 'warning' },
            summary: 'a measures only 95% of the requests it sees',
          },
        ],
      }),
    ).toBe('');
  });
});

describe.each(['otel', 'istio'] as const)('%s, where both sides report', (dialect) => {
  test('a request is counted once: by its server, or by its client where no server reports', () => {
    const series = (['server', 'client'] as const).map((side) =>
      requests(dialect, { side, values: '0+600x30' }),
    );
    const outside = [
      requests(dialect, { side: 'client', destination: 'bank', values: '0+60x30' }),
      requests(dialect, { side: 'client', destination: 'bank', status: '404', values: '0+60x30' }),
      requests(dialect, { side: 'client', destination: 'bank', status: '', values: '0+60x30' }),
      // The client gave up, which is nothing that the server's own count has.
      requests(dialect, { side: 'client', status: '', values: '0+60x30' }),
    ];
    expect(
      problems(dialect, {
        series: [...series, ...outside],
        at: '20m',
        values: [
          {
            expr: 'service:meshtap_requests:rate5m',
            samples: {
              'service:meshtap_requests:rate5m{service="cart"}': 10,
              'service:meshtap_requests:rate5m{service="bank"}': 3,
            },
          },
          {
            expr: 'service:meshtap_errors:rate5m',
            samples: {
              'service:meshtap_errors:rate5m{service="cart"}': 0,
              'service:meshtap_errors:rate5m{service="bank"}': 1,
            },
          },
        ],
      }),
    ).toBe('');
  });
});

test('otel says what is wrong with connections', () => {
  const ends = { source_service: 'shop', destination_service: 'cart' };
  const tcp = (name: string, values: string, more = {}) => ({
    series: `meshtap_tcp_client_${name}_total${labels({ ...ends, ...more })}`,
    values,
  });
  const series = [
    tcp('connections_opened', '0+90x200'),
    tcp('connect_failures', '0+8x200', { error_type: 'refused' }),
    tcp('connect_failures', '0+2x200', { error_type: 'cancelled' }),
    // One a minute, and then five a second.
    tcp('retransmits', '0+1x120 420+300x80'),
  ];
  const alerts = (labels?: Record<string, string>) => [
    {
      alert: 'MeshtapRetransmitSurge',
      ...(labels && {
        labels: { ...labels, sender: 'client', severity: 'warning' },
        summary: 'shop → cart: the client sends 5 segments a second again',
      }),
    },
  ];
  expect(problems('otel', { series, at: '100m', alerts: alerts() })).toBe('');
  expect(
    problems('otel', {
      series,
      at: '140m',
      alerts: [
        ...alerts(ends),
        {
          alert: 'MeshtapConnectFailures',
          labels: { ...ends, severity: 'warning' },
          summary: 'shop → cart: 10% of the connects fail',
        },
      ],
    }),
  ).toBe('');
});
