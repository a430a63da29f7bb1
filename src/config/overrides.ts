import { parse } from 'yaml';
import { MeshtapError } from '../errors.js';
import { type JsonSchema, jsonSchema } from './json-schema.js';
import { didYouMean } from './suggest.js';

/** One key that is set from outside of the file. */
export interface Override {
  readonly path: readonly string[];
  readonly value: unknown;
  /** What people typed: `--prometheus`, `MESHTAP_LOG__LEVEL`. */
  readonly where: string;
}

const PREFIX = 'MESHTAP_';

/** `idleAfter` is `IDLE_AFTER`. */
const upperCase = (key: string) => key.replace(/[A-Z]/g, '_$&').toUpperCase();

/** `MESHTAP_EXPORTERS__PROMETHEUS__LISTEN` for `exporters.prometheus.listen`. */
export const variableOf = (path: readonly string[]) => `${PREFIX}${path.map(upperCase).join('__')}`;

/**
 * The overrides in the environment: `MESHTAP_`, then the key in capitals, `__` between levels. Lists are written
 * with commas, whole maps as YAML (`{a: b}`). Empty ones count as not set.
 *
 * Throws CONFIG_INVALID for a variable that seems to be meant as a key and is none. Others are left alone: Kubernetes
 * sets MESHTAP_SERVICE_HOST and the like beside a service named meshtap.
 */
export function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): Override[] {
  const overrides: Override[] = [];
  for (const [where, text] of Object.entries(environment)) {
    if (!text || !where.startsWith(PREFIX)) continue;
    const found = keyOf(where);
    if (found) overrides.push({ path: found.path, value: parseValue(text, found.schema, where), where });
    else if (seemsMeant(where)) throw noSuchKey(where);
  }
  // The whole before its parts, so that the parts win.
  return overrides.sort((a, b) => a.path.length - b.path.length);
}

function seemsMeant(variable: string): boolean {
  const first = Object.keys(jsonSchema.properties ?? {}).map(upperCase);
  return variable.includes('__') || didYouMean(variable.slice(PREFIX.length), first) !== undefined;
}

function keyOf(variable: string): { path: string[]; schema: JsonSchema } | undefined {
  const path: string[] = [];
  let schema = jsonSchema;
  for (const word of variable.slice(PREFIX.length).split('__')) {
    const found = Object.entries(schema.properties ?? {}).find(([key]) => upperCase(key) === word);
    if (!found) return undefined;
    path.push(found[0]);
    schema = found[1];
  }
  return { path, schema };
}

function parseValue(text: string, schema: JsonSchema, where: string): unknown {
  if (schema.type === 'string') return text;
  try {
    return parse(schema.type === 'array' && !text.trim().startsWith('[') ? `[${text}]` : text);
  } catch (cause) {
    throw new MeshtapError('CONFIG_INVALID', `${where}: found ${JSON.stringify(text)}, which is not YAML`, {
      cause,
    });
  }
}

function noSuchKey(variable: string): MeshtapError {
  const known = variables(jsonSchema, []);
  return new MeshtapError('CONFIG_INVALID', `${variable}: there is no such setting`, {
    hint:
      didYouMean(variable, known, PREFIX.length) ??
      'Variables are named after the keys, all of them: MESHTAP_LOG__LEVEL is log.level.',
  });
}

function variables({ properties = {} }: JsonSchema, above: readonly string[]): string[] {
  return Object.entries(properties).flatMap(([key, below]) => {
    const path = [...above, key];
    return [variableOf(path), ...variables(below, path)];
  });
}

/** `value` with each override in its place; later ones win. */
export function override(value: unknown, overrides: readonly Override[]): unknown {
  return overrides.reduce((result, { path, value }) => put(result, path, value), value);
}

function put(base: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  const map = isMap(base) ? base : {};
  return { ...map, [key]: put(map[key], rest, value) };
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
