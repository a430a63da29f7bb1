import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const SRC = join(import.meta.dirname, '../../src');

/** From left to right: a file imports only from its own stage and from those before it. */
const STAGES = [
  ['errors.ts', 'dispose.ts'],
  ['routes'],
  ['bpf', 'flows'],
  ['receivers'],
  ['identity'],
  ['metrics'],
  ['config'],
  ['policy'],
  ['exporters'],
  ['agent.ts'],
  ['index.ts', 'cli'],
];

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ file, imports: importsOf(readFileSync(join(SRC, file), 'utf8')) }));

/** Everything after `from`, `import` and `import(`, types too. */
function importsOf(text: string): string[] {
  const found = text.matchAll(/(?:^|[\s;}])(?:from|import)\s*\(?\s*'([^']+)'/g);
  return [...found].map(([, name]) => name!);
}

const top = (file: string) => file.split('/')[0]!;
const stageOf = (file: string) => STAGES.findIndex((stage) => stage.includes(top(file)));

test('every file is in a stage', () => {
  expect(files.length).toBeGreaterThan(20);
  expect(files.filter(({ file }) => stageOf(file) < 0).map(({ file }) => file)).toEqual([]);
});

test('imports go from right to left', () => {
  const wrong = files.flatMap(({ file, imports }) =>
    imports
      .filter((name) => name.startsWith('.'))
      .map((name) => relative(SRC, join(SRC, dirname(file), name)).replace(/\.js$/, '.ts'))
      .filter((target) => {
        if (target.startsWith('..')) return true;
        // Stages side by side do not know each other.
        return (
          stageOf(target) > stageOf(file) || (stageOf(target) === stageOf(file) && top(target) !== top(file))
        );
      })
      .map((target) => `${file} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

describe('who may use what', () => {
  const users = (pattern: RegExp) =>
    files.filter(({ imports }) => imports.some((name) => pattern.test(name))).map(({ file }) => top(file));

  test('only src/bpf knows koffi', () => {
    expect(new Set(users(/^koffi/))).toEqual(new Set(['bpf']));
  });

  test('only the command line knows commander, tables and colours', () => {
    expect(new Set(users(/^(commander|cli-table3|pino-pretty)$/))).toEqual(new Set(['cli']));
  });

  test('what decides the process, decides it on the command line', () => {
    const deciding = files
      .filter(({ file }) =>
        /process\.(exit\b|exitCode|on\(|once\()/.test(readFileSync(join(SRC, file), 'utf8')),
      )
      .map(({ file }) => top(file));
    expect(new Set(deciding)).toEqual(new Set(['cli']));
  });

  test('nobody writes to the console', () => {
    const talking = files.filter(({ file }) => /\bconsole\./.test(readFileSync(join(SRC, file), 'utf8')));
    expect(talking.map(({ file }) => file)).toEqual([]);
  });
});
