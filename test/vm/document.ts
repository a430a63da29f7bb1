// Writes docs/reliability.md from what runs of `npm run test:vm` reported. Usage: document.ts [REPORT...]; what a later
// report says of a kernel's tier replaces what an earlier one did.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FEATURES } from '../../src/bpf/features.js';
import { CORE } from './core.js';
import { kernelNames } from './kernels.js';
import { type Report, RUN_ITSELF, summarise } from './report.js';

const root = join(import.meta.dirname, '../..');
const paths = process.argv.length > 2 ? process.argv.slice(2) : [join(root, '.cache/vm/report.json')];
const { kernels, outcomes, features } = paths
  .map((path): Report => JSON.parse(readFileSync(path, 'utf8')))
  .reduce(merge);
const names = kernelNames('').filter((name) => name in kernels);

/** What a run replaces: its tests, and that an earlier one of its tier did not end well. */
function merge(earlier: Report, later: Report): Report {
  const again = new Set(
    later.outcomes.flatMap(({ kernel, tier, test }) =>
      [test, RUN_ITSELF].map((name) => [kernel, tier, name].join('|')),
    ),
  );
  const others = earlier.outcomes.filter(
    ({ kernel, tier, test }) => !again.has([kernel, tier, test].join('|')),
  );
  return summarise({ ...earlier.kernels, ...later.kernels }, [...others, ...later.outcomes], {
    ...earlier.features,
    ...later.features,
  });
}

const row = (fields: readonly (string | number)[]) => `| ${fields.join(' | ')} |`;
const table = (head: string[], rows: (string | number)[][]) =>
  [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');

/** Tests of one file are one row: what was passed, failed and skipped of it on each kernel. */
function testTable(): string {
  const fileOf = ({ tier, test }: Report['outcomes'][number]) => {
    if (test === RUN_ITSELF) return `the ${tier} tier, to its end`;
    return tier === 'load' ? test : test.split(':')[0]!;
  };
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

/** What became of the requests of every test that says it, of the tier or of all others. */
function faultTable(network: boolean): string {
  const rows = outcomes
    .filter(({ tier }) => (tier === 'network') === network)
    .flatMap(({ test, kernel, figures = [] }) =>
      figures.map(({ at, sent, counted, explained, lost, wrong }) => {
        const [, title] = /^[^:]+: (.*)$/.exec(test)!;
        return [title!, kernel, at, sent, counted, explained, lost, wrong];
      }),
    );
  return table(['', 'kernel', 'seen at', 'there were', 'counted', 'explained', 'lost', 'wrong'], rows);
}

writeFileSync(
  join(root, 'docs/reliability.md'),
  `# Reliability

Written by \`npx tsx test/vm/document.ts\` from what \`npm run test:vm\` reported, not by hand; [testing.md](testing.md)
says what runs where. What is known not to hold is in [known-issues.md](known-issues.md).

## Kernels

${table(
  ['name', 'release'],
  names.map((name) => [name, kernels[name]!]),
)}

### What each has

As \`meshtap status\` says it there, and as the version that brought it has it; a difference fails the load tier. What is
required is there from 5.10 on; the rest only adds.

${featureTable()}

### Tests

Tests passed by file, or by name for the load tier; an empty field was not run.

${testTable()}

Of \`test/kernel\`, these are what an unattended run has time for on the oldest and the newest kernel:

${table(
  ['files', 'what they ask of the kernel'],
  Object.entries(CORE).map(([files, what]) => [`\`${files}\``, what]),
)}

## Network trouble

Requests between nginx and a client in network namespaces of their own, while something is wrong with the cable between
them. *There were* is what that end itself reports, the client or nginx' log, by method and status. *Counted* is what
meshtap counted with that status; *explained*, what it counted as without answer, as it was. *Lost* it did not count,
*wrong* it counted but it was not so.

${faultTable(true)}

## Survival, bounds and reuse

The same of requests while the agent is killed, restarted, upgraded or short of room, and while services, connections and
addresses come and go. Here *explained* are those that were counted under no name of their own.

${faultTable(false)}
`,
);
