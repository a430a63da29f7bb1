import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import type { ExporterContext } from '../../src/exporters/exporter.js';
import type { MetricFamily } from '../../src/metrics/family.js';
import { createProducer } from '../../src/metrics/producer.js';

export interface TestContext extends ExporterContext {
  /** What was logged so far, each line parsed. */
  readonly lines: { level: number; msg: string }[];
}

/** What an agent would hand to an exporter, with these families. */
export function exporterContext(
  collect: () => readonly MetricFamily[] | Promise<readonly MetricFamily[]>,
  { ready = () => true, resource = {} }: Partial<Pick<ExporterContext, 'ready' | 'resource'>> = {},
): TestContext {
  const lines: TestContext['lines'] = [];
  const sink = new PassThrough();
  sink.on('data', (line: Buffer) => lines.push(JSON.parse(line.toString()) as TestContext['lines'][number]));
  const asynchronous = async () => collect();
  return {
    collect: asynchronous,
    producer: createProducer({ collect: asynchronous }),
    resource: { 'service.name': 'meshtap-test', ...resource },
    log: pino({ level: 'debug' }, sink),
    ready,
    lines,
  };
}
