import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { report } from '../../support/figures.js';
import { sendFromCgroups, serveKeys } from '../../support/keys.js';
import { startPrometheus } from '../../support/prometheus.js';
import { checkMetrics } from '../../support/promtool.js';
import { Scope } from '../../support/scope.js';

let scope: Scope;
let port: number;
const instance = `hostile-${process.pid}`;

beforeAll(async () => {
  scope = new Scope('hostile');
  port = (await serveKeys(scope)).ports[0]!;
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
});

const GET = 'GET /200 HTTP/1.1\r\nHost: x\r\n\r\n';

/** Names that the kernel takes for directories of cgroups, and the services they are. */
const NAMES: readonly { name: string | Buffer; service: string }[] = [
  ...[
    'quo"te',
    'back\\slash',
    'at the end\\',
    '\\n',
    '{le="+Inf"} 1',
    'a="b",c=\'d\'',
    '# TYPE up gauge',
    ' ',
    'tab\tand\rreturn',
    '\x1b[31mred\x07',
    '\x7f\x01\u0085',
    '\u202egnirts',
    '\u2028line',
    '\ufeffmark',
    '🦊'.repeat(60),
    'x'.repeat(255),
    '__proto__',
    'constructor',
    '%s%n$(reboot)',
    '<b onclick=alert(1)>',
  ].map((name) => ({ name, service: name })),
  { name: 'two\\x0alines\\x22.service', service: 'two_lines"' },
  { name: 'half\\xff\\xfe.service', service: 'half\ufffd\ufffd' },
];

/** What is no UTF-8 can not be a label. */
const NO_TEXT = ['ff', 'c3', '61edb9a062', 'f0808080', '6162fe'].map((hex) => Buffer.from(hex, 'hex'));

test('names of cgroups come through as they are, and break nothing', PATIENTLY, async (context) => {
  const agent = await AgentProcess.start({
    cgroup: scope.path,
    instance,
    config: { dialects: ['otel', 'hubble', 'istio'] },
  });
  const jobs = [...NAMES.map(({ name }) => Buffer.from(name)), ...NO_TEXT].map((name, index) => ({
    name,
    // Told apart by how many there are.
    requests: Array.from({ length: index + 1 }, () => GET),
  }));
  const sent = jobs.reduce((sum, { requests }) => sum + requests.length, 0);
  const unreadable = jobs.slice(NAMES.length).reduce((sum, { requests }) => sum + requests.length, 0);

  await sendFromCgroups(scope, port, jobs, 'removed afterwards', async (right) => {
    expect(right).toBe(sent);
    const page = await agent.scrape();
    // Istio's own name; promtool would like it to be seconds.
    const lint = 'istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"';
    expect((await checkMetrics(page.text)).problems).toEqual([lint]);
    for (const { labels } of page.samples)
      for (const value of Object.values(labels)) expect(Buffer.byteLength(value)).toBeLessThanOrEqual(255);

    // Read by Prometheus itself.
    await using prometheus = await startPrometheus([{ job: 'meshtap', address: agent.url }]);
    let found: { metric: Readonly<Record<string, string>>; value: number }[] = [];
    while (found.length === 0) {
      await sleep(100);
      found = await prometheus.query(`http_server_request_duration_seconds_count{server_port="${port}"}`);
    }
    const services = new Map(found.map(({ metric, value }) => [metric.source_service!, value]));
    expect(services.size).toBe(found.length);
    let counted = 0;
    for (const [index, { service }] of NAMES.entries()) {
      expect([service, services.get(service)]).toEqual([service, index + 1]);
      counted += services.get(service)!;
      services.delete(service);
    }
    expect([...services.keys()].filter((name) => name !== 'unknown')).toEqual([]);
    expect(services.get('unknown')).toBe(unreadable);
    report(context, { at: 'server', sent, counted, explained: unreadable, lost: 0, wrong: 0 });
  });
});

test('what a request says makes no series', PATIENTLY, async (context) => {
  const agent = await AgentProcess.start({ cgroup: scope.path, instance });
  const before = await agent.scrape();
  const requests = Array.from(
    { length: 2000 },
    (_, i) =>
      `M${i} /200?"=${i}\\ HTTP/1.1\r\nHost: "${i}\\n"\r\nUser-Agent: ${i}\r\nX-${i}: ${'y'.repeat(i)}\r\n\r\n`,
  );
  await sendFromCgroups(scope, port, [{ name: 'talker', requests }], 'removed afterwards', async (right) => {
    expect(right).toBe(requests.length);
    const page = await agent.scrape();
    expect(await checkMetrics(page.text)).toMatchObject({ problems: [], code: 0 });
    for (const role of ['client', 'server'] as const) {
      const own = page.of(`http_${role}_request_duration_seconds_count`, { source_service: 'talker' });
      expect(own.map(({ labels, value }) => [labels.http_request_method, value])).toEqual([
        ['_OTHER', requests.length],
      ]);
      report(context, { at: role, sent: right, counted: own[0]!.value, explained: 0, lost: 0, wrong: 0 });
    }
    expect(page.budget('series') - before.budget('series')).toBe(2);
  });
});
