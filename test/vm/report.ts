import { relative } from 'node:path';
import type { Figures } from '../support/figures.js';

/** Stands for a test where the run failed, and none of its tests. */
export const RUN_ITSELF = 'the run itself';

/** One test's outcome on one kernel. */
export interface Outcome {
  test: string;
  result: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped. */
  detail?: string;
  figures?: Figures[];
}

/** By name, `supported` or what else src/bpf/probe.ts says. */
type Features = Record<string, string>;

/** What one tier found on one kernel. */
export interface Found {
  outcomes: Outcome[];
  features?: Features;
  /** How long each test file took. */
  seconds?: Record<string, number>;
}

/** What `run.ts --json` writes. The three sums have the names that vitest's own JSON reporter gives them. */
export interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  /** Release by name: `{ "6.1": "6.1.0-56-cloud-amd64" }`. */
  kernels: Record<string, string>;
  outcomes: (Outcome & { tier: string; kernel: string })[];
  /** By kernel. */
  features: Record<string, Features>;
}

/** The part of vitest's JSON report that is read here. */
export interface VitestReport {
  testResults: {
    name: string;
    status: string;
    message: string;
    /** Milliseconds. */
    startTime: number;
    endTime: number;
    assertionResults: {
      fullName: string;
      status: string;
      failureMessages: string[];
      /** Set by test/support/skip-unless.ts and figures.ts. */
      meta?: { skipped?: string; figures?: Figures[] };
    }[];
  }[];
}

/** A file that could not even be loaded has no tests, and is one failure. */
export function fromVitest({ testResults }: VitestReport, root = process.cwd()): Found {
  const nameOf = (path: string) => relative(root, path).replace(/\.test\.ts$/, '');
  const outcomes = testResults.flatMap((file) => {
    const name = nameOf(file.name);
    const outcomes = file.assertionResults.map(({ fullName, status, failureMessages, meta }): Outcome => {
      const result = status === 'passed' || status === 'failed' ? status : 'skipped';
      const detail = failureMessages[0] ?? meta?.skipped;
      const { figures } = meta ?? {};
      return { test: `${name}: ${fullName}`, result, ...(detail && { detail }), ...(figures && { figures }) };
    });
    const unexplained = file.status === 'failed' && !outcomes.some((outcome) => outcome.result === 'failed');
    return unexplained
      ? [...outcomes, { test: name, result: 'failed' as const, detail: file.message }]
      : outcomes;
  });
  const seconds = testResults.map(
    ({ name, startTime, endTime }) => [nameOf(name), (endTime - startTime) / 1000] as const,
  );
  return { outcomes, seconds: Object.fromEntries(seconds) };
}

export function summarise(
  kernels: Report['kernels'],
  outcomes: Report['outcomes'],
  features: Report['features'] = {},
): Report {
  const count = (result: Outcome['result']) => outcomes.filter((outcome) => outcome.result === result).length;
  return {
    numPassedTests: count('passed'),
    numFailedTests: count('failed'),
    numPendingTests: count('skipped'),
    kernels,
    outcomes,
    features,
  };
}

/** Tests down, kernels across; a test that did not run on a kernel leaves its field empty. */
export function table({ kernels, outcomes }: Report): string {
  const names = Object.keys(kernels);
  const tests = [...new Set(outcomes.map(({ tier, test }) => `${tier}: ${test}`))];
  const head = ['', ...names];
  const rows = tests.map((test) => [
    test,
    ...names.map(
      (name) => outcomes.find((o) => o.kernel === name && `${o.tier}: ${o.test}` === test)?.result ?? '',
    ),
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]!.length)));
  return [head, ...rows]
    .map((row) =>
      row
        .map((field, column) => field.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
