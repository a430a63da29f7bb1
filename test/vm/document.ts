// Writes docs/reliability.md from what `npm run test:vm` reported. Usage: document.ts [REPORT]
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FEATURES } from '../../src/bpf/features.js';
import type { Report } from './report.js';

const root = join(import.meta.dirname, '../..');
const path = process.argv[2] ?? join(root, '.cache/vm/report.json');
const { kernels, outcomes, features }: Report = JSON.parse(readFileSync(path, 'utf8'));
const names = Object.keys(kernels);

const row = (fields: readonly (string | number)[]) => `| ${fields.join(' | ')} |`;
const table = (head: string[], rows: (string | number)[][]) =>
  [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');

/** Tests of one file are one row: what was passed, failed and skipped of it on each kernel. */
function testTable(): string {
  const fileOf = ({ tier, test }: Report['outcomes'][number]) =>
    tier === 'load' ? test : test.split(':')[0]!;
  const files = [...new Set(outcomes.map(fileOf))];
  const field = (file: string, kernel: string) => {
    const here = outcomes.filter((outcome) => outcome.kernel === kernel && fileOf(outcome) === file);
    const counts = (['passed', 'failed', 'skipped'] as const).map(
      (result) => [here.filter((outcome) => outcome.result === result).length, result] as const,
    );
    return counts.flatMap(([count, result]) => (count > 0 ? `${count} ${result}` : [])).join(', ');
  };
  return table(
    ['', ...names],
    files.map((file) => [`\`${file}\``, ...names.map((kernel) => field(file, kernel))]),
  );
}

function featureTable(): string {
  const answer: Record<string, string> = {
    supported: 'yes',
    'not supported': 'no',
    unknown: 'could not tell',
  };
  return table(
    ['', 'since', 'required', ...names],
    FEATURES.map(({ name, since, required }) => [
      name,
      since,
      required ? 'yes' : '',
      ...names.map((kernel) => answer[features[kernel]?.[name] ?? ''] ?? ''),
    ]),
  );
}

function faultTable(): string {
  const rows = outcomes.flatMap(({ test, kernel, figures = [] }) =>
    figures.map(({ at, sent, counted, explained, lost, wrong }) => {
      const [, title] = /^[^:]+: (.*)$/.exec(test)!;
      return [title!, kernel, at, sent, counted, explained, lost, wrong];
    }),
  );
  return table(['', 'kernel', 'seen at', 'there were', 'counted', 'without answer', 'lost', 'wrong'], rows);
}

writeFileSync(
  join(root, 'docs/reliability.md'),
  `# Reliability

Written by \`npx tsx test/vm/document.ts\` from what \`npm run test:vm\` reported; not by hand.

## Kernels

${table(
  ['name', 'release'],
  names.map((name) => [name, kernels[name]!]),
)}

What each has, found by trying. What is required is there from 5.10 on; the rest only adds.

${featureTable()}

## Tests

${testTable()}

## Faults

Requests between nginx and a client, in network namespaces of their own, while something is wrong. *There were* is what
that end itself reports (the client, or nginx' log), by method and status; *counted* is what meshtap counted with that
status; *without answer* it counted as such. *Lost* it did not count, *wrong* it counted but it was not so.

${faultTable()}
`,
);
