/**
 * docs/metrics.md names every metric with its labels. Its tables are written from the code; after a change,
 * `npx vitest run test/unit/metrics/reference.test.ts -u` writes them anew.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { prometheus } from '../../../src/exporters/prometheus.js';
import { labelName, metricName } from '../../../src/exporters/prometheus-names.js';
import { createCollector } from '../../../src/metrics/collector.js';
import type { Dialect } from '../../../src/metrics/dialects/dialect.js';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { istio } from '../../../src/metrics/dialects/istio.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import type { MetricFamily } from '../../../src/metrics/family.js';
import { agentProcess, identityHealth } from '../../../src/metrics/self.js';
import type { Counts } from '../../../src/receivers/counts.js';
import { counts, dns, histogram, http, identifyNamed, named, pair, tcp } from '../../support/counts.js';
import { exporterContext } from '../../support/exporter-context.js';
import { scrape } from '../../support/scrape.js';

const file = fileURLToPath(new URL('../../../docs/metrics.md', import.meta.url));

/** Traffic of which every metric and every label is made. */
function everything(): Counts {
  const seen = histogram([0.01]);
  const pairs = [pair('server', named('b'), named('a')), pair('client', named('a'), named('b'))];
  return counts({
    http: pairs.flatMap((ends) => [
      http(ends, { status: 503, route: '/details/{id}', duration: seen, firstByte: seen }),
      http(ends, { status: undefined, failure: 'reset', duration: seen }),
      http(ends, {
        version: '2',
        rpc: { service: 'shop.Cart', method: 'Add', status: 'UNAVAILABLE' },
        duration: seen,
        firstByte: seen,
      }),
    ]),
    tcp: pairs.map((ends) =>
      tcp(ends, {
        tls: 1,
        tlsDecoded: 1,
        opened: 3,
        closed: 1,
        reset: 1,
        rtt: seen,
        ...(ends.role === 'client' && { refused: 1, connect: seen }),
      }),
    ),
    dns: pairs.flatMap((ends) => [
      dns(ends, { queries: 2, unanswered: 1 }),
      dns(ends, { code: 3, records: { SOA: 1 }, duration: seen }),
    ]),
    ledger: [{ role: 'server', subject: 'requests', outcome: 'seen', count: 1 }],
    budgets: [{ name: 'series', used: 1, limit: 2 }],
  });
}

async function families(dialects: readonly Dialect[]): Promise<MetricFamily[]> {
  const running = await prometheus({ port: 0 }).start(exporterContext(() => []));
  await scrape(running.address);
  const names = { held: 0, ages: [{ resolver: 'kubernetes', kind: 'pods', age: 1 }] };
  const self = () => [...agentProcess(), ...identityHealth(names), ...running.families!()];
  const { collect } = createCollector({
    sources: () => [{ collect: async () => everything() }],
    identify: identifyNamed(),
    dialects,
    self,
  });
  await collect();
  const all = await collect();
  await running[Symbol.asyncDispose]();
  return [...all];
}

function table(list: readonly MetricFamily[]): string {
  const labelsOf = ({ points }: MetricFamily) => [
    ...new Set(points.flatMap(({ attributes }) => Object.keys(attributes).map(labelName))),
  ];
  const [first, ...others] = list.map(labelsOf);
  const common = first!.filter((label) => others.every((labels) => labels.includes(label)));
  const rows = list.map((family) => {
    const { name, unit, type, description } = family;
    const own = labelsOf(family).filter((label) => !common.includes(label));
    const prometheusName = metricName(name, unit, type);
    const names = [`\`${prometheusName}\``, ...(name === prometheusName ? [] : [`\`${name}\``])].join('<br>');
    return `| ${names} | ${type} | ${unit || '-'} | ${code(own)} | ${description} |`;
  });
  return [
    ...(common.length > 0 ? [`On every point: ${code(common)}.`, ''] : []),
    '| Prometheus name, and OpenTelemetry name where another | type | unit | labels | what |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

const code = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(', ') || '-';

it('docs/metrics.md says what the code does', async () => {
  const own = await families([]);
  const ownNames = new Set(own.map(({ name }) => name));
  const sections = new Map([['meshtap', table(own)]]);
  for (const dialect of [otel(), hubble(), istio()]) {
    const list = (await families([dialect])).filter(({ name }) => !ownNames.has(name));
    sections.set(dialect.name, table(list));
  }
  const text = readFileSync(file, 'utf8').replaceAll(
    /(<!-- table (\w+) -->\n).*?(<!-- end -->)/gs,
    (_, begin: string, name: string, end: string) => `${begin}\n${sections.get(name)}\n\n${end}`,
  );
  expect([...text.matchAll(/<!-- table (\w+) -->/g)].map(([, name]) => name).sort()).toEqual(
    [...sections.keys()].sort(),
  );
  await expect(text).toMatchFileSnapshot(file);
});
