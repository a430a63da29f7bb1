/** Holds `meshtap observe` to what the stock `hubble observe` made of the same flows (test/fixtures/flows). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { withObserve } from '../../../src/cli/observe/observe.js';

const FOLDER = join(import.meta.dirname, '../../fixtures/flows');
const FILE = join(FOLDER, 'flows.jsonl');

interface Recorded {
  formats: { args: string; stdout: string; stderr: string }[];
  selections: { args: string; status: number; kept: number[] }[];
  filters: { args: string; stdout: string }[];
  refused: { args: string; status: number }[];
}
const recorded: Recorded = JSON.parse(readFileSync(join(FOLDER, 'recorded.json'), 'utf8'));

beforeAll(() => {
  process.env.TZ = 'UTC';
  process.setMaxListeners(0);
});

/** Runs it in this process. */
async function observe(args: string): Promise<{ stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += text;
      return true;
    }),
  );
  const command = withObserve(new Command('observe')).exitOverride();
  try {
    await command.parseAsync(['--input-file', FILE, ...(args === '' ? [] : args.split(' '))], {
      from: 'user',
    });
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return written;
}

const lines = (text: string) => text.trim().split('\n').filter(Boolean);

describe('prints as hubble does', () => {
  test.each(recorded.formats)('$args', async ({ args, stdout, stderr }) => {
    const ours = await observe(args);
    if (args.includes('json')) {
      expect(lines(ours.stdout).map((line) => JSON.parse(line))).toEqual(
        lines(stdout).map((line) => JSON.parse(line)),
      );
      return;
    }
    // With colours, hubble lets through those of others too.
    const theirs = args.includes('color') ? stdout.replace('\x1b[31mred', '^[[31mred') : stdout;
    expect(ours.stdout.trim()).toBe(theirs.trim());
    // Of the state of nodes hubble prints a block in dict; here it is a line in every format.
    if (!args.includes('dict')) expect(ours.stderr).toBe(stderr);
  });
});

describe('keeps what hubble keeps', () => {
  test.each(recorded.selections)('$args', async ({ args, kept }) => {
    const { stdout } = await observe(`-o jsonpb ${args}`);
    const ids = lines(stdout)
      .map((line) => JSON.parse(line))
      .filter((response) => response.flow)
      .map(({ flow }) => Number(flow.uuid.slice(-12)));
    expect(ids).toEqual(kept);
  });
});

test('each field has a case that keeps some and drops some', () => {
  const telling = recorded.selections.filter(({ kept }) => kept.length > 0 && kept.length < 37);
  const used = telling.flatMap(({ args }) => args.match(/--?[A-Za-z0-9-]+/g) ?? []);
  const command = withObserve(new Command());
  const fields = command.options.slice(
    command.options.findIndex(({ long }) => long === '--namespace'),
    command.options.findIndex(({ long }) => long === '--output'),
  );
  const untold = fields.filter(({ long, short }) => !used.includes(long!) && !used.includes(short ?? ''));
  expect(untold.map(({ long }) => long)).toEqual([]);
});

describe('makes the filters of hubble', () => {
  const filters = (text: string) =>
    lines(text).map((line) => (line.includes('{"') ? JSON.parse(/'(.*)'/.exec(line)![1]!) : line));
  test.each(recorded.filters)('$args', async ({ args, stdout }) => {
    expect(filters((await observe(args)).stdout)).toEqual(filters(stdout));
  });
});

describe('refuses what hubble refuses', () => {
  test.each(recorded.refused)('$args', async ({ args, status }) => {
    expect(status).not.toBe(0);
    await expect(observe(args)).rejects.toThrow();
  });
});
