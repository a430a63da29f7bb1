/**
 * What one scrape costs: `npx tsx bench/scrape.ts [samples]`. Prints, for each format, the time from request to the
 * last byte, the longest the event loop was held up meanwhile (both as the median of ten scrapes and the least, which
 * other work on the machine disturbs least), and the size.
 */

import { execFile } from 'node:child_process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { prometheus } from '../src/exporters/prometheus.js';
import { createCollector } from '../src/metrics/collector.js';
import { hubble } from '../src/metrics/dialects/hubble.js';
import { istio } from '../src/metrics/dialects/istio.js';
import { otel } from '../src/metrics/dialects/otel.js';
import { createProducer } from '../src/metrics/producer.js';
import { counts, histogram, http, identifyNamed, named, pair } from '../test/support/counts.js';

const run = promisify(execFile);
const wanted = Number(process.argv[2] ?? 100_000);
const STATUSES = [200, 204, 304, 404, 500, 503];

function synthetic(series: number) {
  const observed = histogram(Array.from({ length: 500 }, (_, i) => 0.0001 * 1.03 ** i));
  const pairs = Array.from({ length: Math.ceil(series / STATUSES.length) }, (_, i) => {
    const [server, client] = [`service-${i % 40}`, `client-${Math.floor(i / 40)}`];
    return pair(
      'server',
      named(server, 'production', `${server}-v1`),
      named(client, 'production', `${client}-v1`),
    );
  });
  return counts({
    http: Array.from({ length: series }, (_, i) =>
      http(pairs[Math.floor(i / STATUSES.length)]!, {
        status: STATUSES[i % STATUSES.length]!,
        duration: observed,
        firstByte: observed,
      }),
    ),
  });
}

/** In another process, so that reading does not count as holding up the loop. */
async function scrape(
  url: string,
  headers: Record<string, string>,
): Promise<{ seconds: number; bytes: number }> {
  const flags = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const { stdout } = await run('curl', [
    '-so',
    '/dev/null',
    '-w',
    '%{time_total} %{size_download}',
    ...flags,
    url,
  ]);
  const [seconds, bytes] = stdout.split(' ').map(Number);
  return { seconds: seconds!, bytes: bytes! };
}

for (const dialects of [[otel()], [otel(), hubble(), istio()]]) {
  const perSeries = dialects.length === 1 ? 42 : 42 + 2 * 21 + 3 + 22;
  const source = synthetic(Math.round(wanted / perSeries));
  const collector = createCollector({
    sources: () => [{ collect: async () => source }],
    identify: identifyNamed(),
    dialects,
  });
  const exporter = await prometheus({ port: 0 }).start({
    collect: collector.collect,
    producer: createProducer({ collect: collector.collect }),
    resource: { 'service.name': 'meshtap' },
    log: pino({ level: 'warn' }),
    ready: () => true,
  });
  const names = dialects.map(({ name }) => name).join('+');
  for (const [title, headers] of [
    ['text', {}],
    ['openmetrics', { accept: 'application/openmetrics-text' }],
    ['text, gzip', { 'accept-encoding': 'gzip' }],
  ] as [string, Record<string, string>][]) {
    const times: number[] = [];
    const holds: number[] = [];
    let size = 0;
    for (let round = 0; round < 10; round++) {
      const delay = monitorEventLoopDelay({ resolution: 1 });
      delay.enable();
      const { seconds, bytes } = await scrape(exporter.address, headers);
      times.push(seconds * 1000);
      size = bytes;
      delay.disable();
      holds.push(delay.max / 1e6);
      await new Promise((done) => setTimeout(done, 100));
    }
    const figure = (list: number[]) => {
      list.sort((a, b) => a - b);
      return `${list[list.length >> 1]!.toFixed(0)} ms (least ${list[0]!.toFixed(0)})`;
    };
    console.log(
      `${names}, ${title}: ${figure(times)}, loop held ${figure(holds)}, ${(size / 1e6).toFixed(1)} MB`,
    );
  }
  await exporter[Symbol.asyncDispose]();
}
