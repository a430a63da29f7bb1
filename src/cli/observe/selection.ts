/**
 * Which flows are asked for: how many, from when, whether to go on.
 *
 * @module
 */
import { MeshtapError } from '../../errors.js';
import type { Format } from '../../flows/print.js';
import { parseDuration, parseWhen, type TimeFormat } from '../../flows/time-format.js';

/** The flags of `meshtap observe`, but for filters. */
export interface ObserveOptions {
  last?: string;
  first?: string;
  all?: boolean;
  since?: string;
  until?: string;
  follow?: boolean;
  slowerThan?: string;
  output: Format;
  printNodeName?: boolean;
  timeFormat: TimeFormat;
  color: 'auto' | 'always' | 'never';
  numeric?: boolean;
  redact?: boolean;
  inputFile?: string;
  printRawFilters?: boolean;
  instance: string;
  server?: string;
  tls?: boolean;
  tlsCaCertFiles?: string[];
  tlsClientCertFile?: string;
  tlsClientKeyFile?: string;
  tlsServerName?: string;
}

/** As many as are shown of what was, if nothing is said. */
export const LAST = 20;

/** What they choose. */
export interface Selection {
  readonly last: number | undefined;
  readonly first: number | undefined;
  readonly since: bigint | undefined;
  readonly until: bigint | undefined;
  readonly follow: boolean;
  /** Nanoseconds. */
  readonly slowerThan: number | undefined;
}

/** Throws USAGE where flags contradict each other or are none. */
export function selectionOf(options: ObserveOptions): Selection {
  const { first, last, all = false, follow = false, output, inputFile } = options;
  if (first !== undefined && (last !== undefined || all || follow))
    throw new MeshtapError('USAGE', '--first goes with none of --last, --all and --follow');
  if (all && last !== undefined) throw new MeshtapError('USAGE', '--all and --last can not be combined');
  if (output === 'table' && follow)
    throw new MeshtapError('USAGE', 'a table is printed when it ends, so not with --follow', {
      hint: 'compact has one line for each',
    });
  const since = whenOf(options.since, '--since');
  const until = whenOf(options.until, '--until');
  const said = last !== undefined || first !== undefined || all || since !== undefined || until !== undefined;
  const count = countOf(last, '--last');
  return {
    last: count ?? (said || inputFile !== undefined ? undefined : LAST),
    first: countOf(first, '--first'),
    since,
    until,
    follow,
    slowerThan: durationOf(options.slowerThan),
  };
}

function countOf(text: string | undefined, flag: string): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new MeshtapError('USAGE', `${flag}: found ${text}, expected a number`);
}

function whenOf(text: string | undefined, flag: string): bigint | undefined {
  if (text === undefined) return undefined;
  const when = parseWhen(text);
  if (when === undefined)
    throw new MeshtapError(
      'USAGE',
      `${flag}: found ${text}, expected 5m, 1h30m, or a time such as 2006-01-02T15:04:05Z`,
    );
  return when;
}

function durationOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const duration = parseDuration(text);
  if (duration === undefined)
    throw new MeshtapError('USAGE', `--slower-than: found ${text}, expected a duration such as 200ms`);
  return duration * 1e6;
}
