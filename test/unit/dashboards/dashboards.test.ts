/** What every dashboard and rule has to be, whatever it shows. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parser } from '@prometheus-io/lezer-promql';
import { describe, expect, test } from 'vitest';
import { allFiles } from '../../../dashboards/src/generate.js';
import {
  DASHBOARDS,
  DIALECTS,
  type DialectName,
  dashboardsOf,
  filledIn,
  panelsOf,
  ruleFilesOf,
  rulesOf,
} from '../../support/dashboards.js';

const read = (file: string) => readFileSync(join(DASHBOARDS, '..', file), 'utf8');

test('the committed files are what the generator makes; `npm run gen:dashboards` writes them anew', () => {
  for (const [path, text] of allFiles()) {
    const file = join(DASHBOARDS, path);
    expect(existsSync(file) && readFileSync(file, 'utf8') === text, path).toBe(true);
  }
});

interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** The metrics that a query asks for, with the labels of their matchers; throws where it is no PromQL. */
function selectors(expr: string): Selector[] {
  const found: Selector[] = [];
  const text = filledIn(expr, { __rate_interval: '1m' });
  parser.parse(text).iterate({
    enter({ type, node, from }) {
      if (type.isError) throw new Error(`not PromQL at ${from}: ${text}`);
      if (type.name !== 'VectorSelector') return;
      const identifier = node.getChild('Identifier')!;
      const labels: string[] = [];
      node.toTree().iterate({
        enter: (inner) => {
          if (inner.name === 'LabelName') labels.push(text.slice(from + inner.from, from + inner.to));
        },
      });
      found.push({ metric: text.slice(identifier.from, identifier.to), labels });
    },
  });
  return found;
}

test('metrics and labels are found in a query', () => {
  const expr = 'sum by (x) (rate(a_total{b="1", c=~"$service"}[$__rate_interval])) / (d:e{f!=""} > 0)';
  expect(selectors(expr)).toEqual([
    { metric: 'a_total', labels: ['b', 'c'] },
    { metric: 'd:e', labels: ['f'] },
  ]);
  expect(() => selectors('sum(')).toThrow('not PromQL');
});

/** Metrics by section of docs/metrics.md, which a test of its own holds to the code. */
function documented(): Map<string, Map<string, readonly string[]>> {
  const sections = [...read('docs/metrics.md').matchAll(/<!-- table (\w+) -->(.*?)<!-- end -->/gs)];
  return new Map(
    sections.map(([, section, text]) => {
      const words = (list: string) => [...list.matchAll(/`(\w+)`/g)].map(([, word]) => word!);
      const common = words(/^On every point: (.*)$/m.exec(text!)?.[1] ?? '');
      const rows = [...text!.matchAll(/^\| `(\w+)`[^|]*\| (\w+) \|[^|]*\| ([^|]*)\|/gm)];
      const metrics = rows.flatMap(([, name, type, labels]): [string, readonly string[]][] => {
        const all = [...common, ...words(labels!), 'otel_metric_overflow'];
        return type === 'histogram'
          ? [
              [`${name}_bucket`, [...all, 'le']],
              [`${name}_count`, all],
              [`${name}_sum`, all],
            ]
          : [[name!, all]];
      });
      return [section!, new Map(metrics)];
    }),
  );
}

/** Put there by Prometheus. */
const TARGET = ['cluster', 'job', 'instance'];
const PROMETHEUS = ['up', 'scrape_duration_seconds', 'scrape_samples_scraped'];
/** Come with the receivers of the next versions; docs/dashboards.md lists their panels as empty until then. */
const PLANNED = /^(hubble_policy_verdicts_total|hubble_drop_total)$/;

describe.each(DIALECTS)('%s', (dialect) => {
  const dashboards = dashboardsOf(dialect);
  const panels = dashboards.flatMap((one) => panelsOf(one).map((panel) => ({ ...panel, on: one.uid })));
  const rules = rulesOf(dialect);

  test('has the dashboards that there should be', () => {
    const names = ['overview', 'pair', 'self', 'service', 'tcp-dns'];
    const all = dialect === 'hubble' ? [...names, 'policy'] : names;
    expect(dashboards.map(({ uid }) => uid).sort()).toEqual(all.map((name) => `meshtap-${name}`).sort());
  });

  test('asks only for metrics and labels that there are', () => {
    const tables = documented();
    const recorded = new Set(rules.map(({ record }) => record));
    const wrong = [...panels.flatMap(({ targets }) => targets), ...rules].flatMap(({ expr }) =>
      selectors(expr).filter(({ metric, labels }) => {
        if (recorded.has(metric) || PROMETHEUS.includes(metric)) return false;
        if (/^meshtap:objective_\w+:own$/.test(metric)) return false;
        const known = tables.get(dialect)?.get(metric) ?? tables.get('meshtap')?.get(metric);
        if (!known) return !PLANNED.test(metric);
        return labels.some((label) => !known.includes(label) && !TARGET.includes(label));
      }),
    );
    expect(wrong).toEqual([]);
  });

  test('every panel says which question it answers, in what unit, and names its series', () => {
    for (const { on, title, description, fieldConfig, targets, type, options } of panels) {
      const where = `${on}: ${title}`;
      expect(description, where).toMatch(/\?|Number in a circle|For (each|every)/);
      const unit = fieldConfig?.defaults.unit ?? (options?.yAxis as { unit?: string } | undefined)?.unit;
      if (type !== 'table' && type !== 'nodeGraph') expect(unit, where).toBeTruthy();
      if (type === 'timeseries' || type === 'stat')
        for (const { legendFormat } of targets) expect(legendFormat, where).not.toBe('__auto');
      expect(targets.map(({ refId }) => refId)).toEqual([...new Set(targets.map(({ refId }) => refId))]);
    }
  });

  test('panels do not overlap', () => {
    for (const { uid, panels } of dashboards)
      for (const [i, a] of panels.entries())
        for (const b of panels.slice(i + 1)) {
          const [p, q] = [a.gridPos, b.gridPos];
          const apart = p.x + p.w <= q.x || q.x + q.w <= p.x || p.y + p.h <= q.y || q.y + q.h <= p.y;
          expect(apart && p.x + p.w <= 24, `${uid}: ${a.title}, ${b.title}`).toBe(true);
        }
  });

  test('every dashboard leads to others, and only to those that there are', () => {
    const uids = dashboards.map(({ uid }) => uid);
    for (const dashboard of dashboards) {
      expect(dashboard.links).toMatchObject([{ type: 'dashboards', tags: ['meshtap'] }]);
      const targets = [...JSON.stringify(dashboard).matchAll(/\/d\/([\w-]+)/g)].map(([, uid]) => uid);
      for (const uid of targets) expect(uids).toContain(uid);
    }
    const linked = (from: string) => JSON.stringify(dashboards.find(({ uid }) => uid === from));
    expect(linked('meshtap-overview')).toContain('/d/meshtap-service?');
    expect(linked('meshtap-service')).toContain('/d/meshtap-pair?');
    expect(linked('meshtap-tcp-dns')).toContain('/d/meshtap-pair?');
  });

  test('every variable that is used is there', () => {
    for (const dashboard of dashboards) {
      const names = dashboard.templating.list.map(({ name }) => name);
      const used = [...JSON.stringify(dashboard).matchAll(/\$(?:\{(\w+)|(\w+))/g)].map(([, a, b]) => a ?? b!);
      const own = used.filter((name) => !name.startsWith('__') && !/^\d+$/.test(name));
      for (const name of own) expect(names, dashboard.uid).toContain(name);
      expect(names).toContain('datasource');
      expect(names).toContain('cluster');
    }
  });

  test('promtool takes the rules', () => {
    const files = ruleFilesOf(dialect);
    const said = execFileSync('promtool', ['check', 'rules', ...files], { encoding: 'utf8' });
    expect(said.match(/SUCCESS/g)).toHaveLength(files.length);
  });

  test('every alert has a section in the runbook', () => {
    const sections = [...read('docs/runbook.md').matchAll(/^## (\w+)$/gm)].map(([, name]) => name!);
    for (const { alert, annotations } of rules) {
      if (alert === undefined) continue;
      expect(sections).toContain(alert);
      expect(annotations!.runbook).toBe(`docs/runbook.md#${alert.toLowerCase()}`);
    }
  });
});

test('what the dashboards of one dialect ask for is the same under another, but for the names', () => {
  const recorded = (dialect: DialectName) => new Set(rulesOf(dialect).flatMap(({ record }) => record ?? []));
  const otel = recorded('otel');
  for (const other of ['hubble', 'istio'] as const)
    for (const name of recorded(other)) expect(otel).toContain(name);
});
