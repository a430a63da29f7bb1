import { CommanderError } from 'commander';
import { type ErrorCode, explain, MeshtapError } from '../errors.js';

/** What the shell is told. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** Codes of what was typed wrong. */
const USAGE: ReadonlySet<ErrorCode> = new Set(['CONFIG_INVALID', 'USAGE', 'FILTER_INVALID']);

/** Says on stderr what went wrong, in one line or one for each fault of a configuration; returns the exit code. */
export function report(error: unknown, { verbose }: { verbose: boolean }): number {
  // commander has said it already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  process.stderr.write(`meshtap: ${explain(error)}\n`);
  if (verbose) process.stderr.write(`${detailOf(error)}\n`);
  else if (error instanceof MeshtapError && error.detail)
    process.stderr.write('Try again with --verbose for all of it.\n');
  const usage = error instanceof MeshtapError && USAGE.has(error.code);
  return usage ? EXIT.usage : EXIT.failure;
}

function detailOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const detail = error instanceof MeshtapError && error.detail ? `\n${error.detail}` : '';
  return `${error.stack ?? ''}${detail}`;
}
