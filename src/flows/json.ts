/**
 * Reading and writing the JSON of protobuf (https://protobuf.dev/programming-guides/json/).
 *
 * @module
 */
import { nanoseconds } from './flow.js';

/** A JSON object. */
export type Json = Record<string, unknown>;

/** What went wrong with an input line, in words. */
export class UnreadableFlow extends Error {}

/** A field by its name in the `.proto`, whichever way it is spelled; null is no value. */
export function field(json: Json, name: string): unknown {
  return json[name] ?? json[camelCase(name)] ?? undefined;
}

const camelCases = new Map<string, string>();
function camelCase(name: string): string {
  let camel = camelCases.get(name);
  if (camel === undefined) {
    camel = name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    camelCases.set(name, camel);
  }
  return camel;
}

export const snakeCase = (name: string) =>
  name.replaceAll(/(?<=[a-z0-9])[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export function objectAt(value: unknown): Json {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw new UnreadableFlow(`${show(value)} where an object belongs`);
  return value as Json;
}

export function listAt(value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new UnreadableFlow(`${show(value)} where a list belongs`);
  return value;
}

export const textsAt = (value: unknown) => listAt(value).map(textAt);

export function textAt(value: unknown): string {
  if (value === undefined) return '';
  if (typeof value !== 'string') throw new UnreadableFlow(`${show(value)} where text belongs`);
  return value;
}

export function numberAt(value: unknown): number {
  if (value === undefined) return 0;
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number) || number < 0)
    throw new UnreadableFlow(`${show(value)} where a number belongs`);
  return number;
}

export function booleanAt(value: unknown): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value;
  throw new UnreadableFlow(`${show(value)} where true or false belongs`);
}

export function timeAt(value: unknown): bigint | undefined {
  if (value === undefined) return undefined;
  const time = parseTimestamp(textAt(value));
  if (time === undefined) throw new UnreadableFlow(`${show(value)} where a time belongs`);
  return time;
}

/** A name or a number; what a newer Hubble has and we do not is the first one, which says that it is not known. */
export function enumAt<const T extends string>(names: readonly T[], value: unknown): T {
  const known = typeof value === 'number' ? names[value] : names.find((name) => name === value);
  return known ?? names[0]!;
}

const show = (value: unknown) => JSON.stringify(value)?.slice(0, 60);

/** RFC 3339 with as many digits as there are. */
export function timestamp(time: bigint): string | undefined {
  if (time === 0n) return undefined;
  const seconds = time / BILLION;
  const fraction = time % BILLION;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return fraction === 0n
    ? `${whole}Z`
    : `${whole}.${String(fraction)
        .padStart(9, '0')
        .replace(/(000)+$/, '')}Z`;
}

/** Nanoseconds since the epoch of an RFC 3339 time; undefined if it is none. */
export function parseTimestamp(text: string): bigint | undefined {
  const [, whole, fraction = '', zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/i.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const milliseconds = Date.parse(`${whole}${zone!.toUpperCase()}`);
  return Number.isNaN(milliseconds) ? undefined : nanoseconds(milliseconds) + BigInt(fraction.padEnd(9, '0'));
}

const BILLION = 1_000_000_000n;

/** Without what has the default of its type. */
export function given(json: Json): Json {
  // A loop: this runs some ten times for each flow, and entries made into an object again take three times as long.
  const all: Json = {};
  for (const name of Object.keys(json)) {
    // What others wrote must not become what this object inherits.
    if (name !== '__proto__' && !isDefault(json[name])) all[name] = json[name];
  }
  return all;
}

/** The same, or undefined if nothing is left. */
export function part(json: Json): Json | undefined {
  const all = given(json);
  return Object.keys(all).length === 0 ? undefined : all;
}

const isDefault = (value: unknown) =>
  value === undefined ||
  value === '' ||
  value === 0 ||
  value === false ||
  (Array.isArray(value) && value.length === 0);

/** Of an enum: undefined for its first name, which is the default. */
export const unless = (value: string, first: string) => (value === first ? undefined : value);

/** `google.protobuf.Timestamp` */
export interface ProtobufTime {
  readonly seconds: string | number;
  readonly nanos: number;
}

export const protobufTime = (time: bigint): ProtobufTime => ({
  seconds: String(time / BILLION),
  nanos: Number(time % BILLION),
});

export const nanosecondsOf = ({ seconds, nanos }: ProtobufTime): bigint =>
  BigInt(seconds || 0) * BILLION + BigInt(nanos || 0);
