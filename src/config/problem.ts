import type { z } from 'zod';
import { type JsonSchema, schemaAt } from './json-schema.js';
import { didYouMean } from './suggest.js';

/** One thing that is wrong with the configuration. */
export interface Problem {
  readonly path: readonly PropertyKey[];
  /** What was found and what is accepted. */
  readonly text: string;
}

type Issue = z.core.$ZodIssue;

/** What the schema found, in words: one problem per key. */
export function problems(issues: readonly Issue[], value: unknown): Problem[] {
  const all = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: [...issue.path, key], text: unknownKey(key, schemaAt(issue.path)) }))
      : [
          {
            path: issue.path,
            text: `found ${show(valueAt(value, issue.path))}, expected ${accepted(issue)}`,
          },
        ],
  );
  const seen = new Set<string>();
  return all.filter(({ path }) => !seen.has(path.join('\0')) && seen.add(path.join('\0')));
}

/** `exporters.prometheus.listen`, `identity.static[2].port` */
export const keyName = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, key) =>
      typeof key === 'number' ? `${text}[${key}]` : text ? `${text}.${String(key)}` : String(key),
    '',
  );

function unknownKey(key: string, parent: JsonSchema | undefined): string {
  const known = Object.keys(parent?.properties ?? {});
  return `found a key that does not exist, expected one of ${known.join(', ')}. ${didYouMean(key, known) ?? ''}`.trim();
}

function accepted(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      // Our own words where the schema has them; zod's begin like this.
      return issue.message.startsWith('Invalid input')
        ? (TYPES[issue.expected] ?? issue.expected)
        : issue.message;
    case 'invalid_value':
      return `one of ${issue.values.join(', ')}`;
    default:
      return issue.message;
  }
}

const TYPES: Readonly<Record<string, string>> = {
  object: 'keys and values ({} for the defaults)',
  array: 'a list',
  string: 'text',
  int: 'a whole number',
};

function show(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (typeof value === 'string')
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (Array.isArray(value)) return value.length ? 'a list' : 'an empty list';
  if (typeof value === 'object') return 'keys and values';
  return String(value);
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
}
