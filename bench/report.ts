import type { ProgramCost, ShapeCost, ShapeEffect } from './overhead.js';
import type { Figure } from './rounds.js';
import type { RouteCost } from './routes.js';

export interface Report {
  readonly machine: string;
  readonly kernel: string;
  readonly rounds: string;
  /** Instructions the verifier looked at, by program. */
  readonly verified: Readonly<Record<string, number>>;
  readonly cost: readonly ShapeCost[];
  readonly routes: readonly RouteCost[];
  readonly effect: readonly ShapeEffect[];
  /** What bench/scrape.ts printed, by number of samples. */
  readonly scrape: Readonly<Record<string, readonly string[]>>;
  /** What bench/identity.ts printed. */
  readonly identity: readonly string[];
}

export function markdown(report: Report): string {
  return [
    `${report.machine}, Linux ${report.kernel}. ${report.rounds}. Every figure is the median of its rounds, and in`,
    'brackets between which half of them lie.',
    '',
    '## Nanoseconds per program run, net of an empty program',
    '',
    ...table(
      ['Traffic', 'Program', 'ns per run', 'runs per request'],
      report.cost.flatMap(({ shape, programs }) =>
        programs
          .filter(ran)
          .map(({ name, perRun, runsPerRequest }) => [
            shape,
            name,
            text(perRun, 0),
            runsPerRequest.toFixed(2),
          ]),
      ),
    ),
    '',
    ...table(
      ['Traffic', 'ns per request and monitored end'],
      report.cost.map(({ shape, perRequestAndEnd }) => [shape, text(perRequestAndEnd, 0)]),
    ),
    '',
    ...table(
      ['Routes', 'patterns', 'ns per request and monitored end'],
      report.routes.map(({ shape, patterns, perRequestAndEnd }) => [
        shape,
        patterns.toLocaleString('en'),
        text(perRequestAndEnd, 0),
      ]),
    ),
    '',
    '## nginx with meshtap, and with a pair of sidecars, relative to neither',
    '',
    ...table(
      ['Traffic', 'with', 'throughput', 'p99', 'without: requests/s', 'without: p99'],
      report.effect.flatMap(({ shape, meshtap, sidecars, without }) =>
        Object.entries({ meshtap, sidecars }).flatMap(([name, effect]) =>
          effect
            ? [
                [
                  shape,
                  name,
                  text(effect.throughput, 3),
                  text(effect.p99, 3),
                  without.requestsPerSecond.toFixed(0),
                  `${without.p99Milliseconds.toFixed(2)} ms`,
                ],
              ]
            : [],
        ),
      ),
    ),
    '',
    '## Instructions that the verifier looks at',
    '',
    ...table(
      ['Program', 'instructions'],
      Object.entries(report.verified).map(([name, count]) => [name, count.toLocaleString('en')]),
    ),
    '',
    '## One scrape',
    '',
    ...Object.entries(report.scrape).flatMap(([samples, lines]) => [
      `${Number(samples).toLocaleString('en')} samples:`,
      '',
      ...lines.map((line) => `- ${line}`),
      '',
    ]),
    '## Knowing a cluster',
    '',
    ...report.identity.map((line) => `- ${line}`),
    '',
  ].join('\n');
}

/** A program that runs once in thousands of requests has no figure worth printing. */
const ran = ({ runsPerRequest }: ProgramCost) => runsPerRequest >= 0.01;

function text({ median, quartiles: [low, high] }: Figure, digits: number): string {
  return `${median.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}
